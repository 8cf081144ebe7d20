package jetlog_test

import (
	"testing"

	"go.uber.org/goleak"

	"github.com/eventfuldb/eventful/internal/natstest"
	"github.com/eventfuldb/eventful/pkg/eventlog"
	"github.com/eventfuldb/eventful/pkg/eventlog/eventlogtest"
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
