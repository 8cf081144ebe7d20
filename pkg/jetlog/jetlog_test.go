package jetlog_test

import (
	"testing"

	"go.uber.org/goleak"

	"github.com/eventfuldb/eventful/internal/natstest"
	"github.com/eventfuldb/eventful/pkg/eventlog"
	"github.com/eventfuldb/eventful/pkg/eventlog/eventlogtest"
	"github.com/eventfuldb/eventful/pkg/jetlog"
	"github.com/eventfuldb/eventful/pkg/jetlog/jetlogtest"
)

func TestMain(m *testing.M) {
	if served, err := natstest.Child(); served {
		if err != nil {
			panic(err)
		}
		return
	}
	goleak.VerifyTestMain(m)
}

func TestStoreConforms(t *testing.T) {
	eventlogtest.Run(t, func(t *testing.T) eventlog.Store { return jetlogtest.StartServer(t, jetlogtest.Options{}).Store() })
}

// The same where what was appended is handed on inside the process.
func TestStoreWithRecentConforms(t *testing.T) {
	eventlogtest.Run(t, func(t *testing.T) eventlog.Store {
		store, err := jetlog.New(jetlogtest.StartServer(t, jetlogtest.Options{}).Conn(), jetlogtest.Site, jetlog.Options{Recent: jetlog.NewRecent()})
		if err != nil {
			t.Fatal(err)
		}
		return store
	})
}
