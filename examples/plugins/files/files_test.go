package files_test

import (
	"encoding/json"
	"net/url"
	"os"
	"path/filepath"
	"testing"

	"github.com/eventfuldb/eventful/examples/plugins/files"
	"github.com/eventfuldb/eventful/pkg/event"
	"github.com/eventfuldb/eventful/pkg/plugin"
	"github.com/eventfuldb/eventful/pkg/plugin/plugintest"
)

func TestConforms(t *testing.T) {
	dir, k := t.TempDir(), files.Kind()
	plugintest.Run(t, plugintest.Target{
		Kind: k, Versioned: true,
		Open: func(t *testing.T) plugin.Plugin {
			return plugintest.Open(t, k, plugin.Settings{Name: "files", Site: "here", Options: plugin.Values{"dir": dir}})
		},
		Newest: func(t *testing.T, a event.AggregateID) event.Version {
			text, err := os.ReadFile(filepath.Join(dir, url.PathEscape(a.String())+".json"))
			var one struct{ Version event.Version }
			if err == nil {
				err = json.Unmarshal(text, &one)
			}
			if err != nil && !os.IsNotExist(err) {
				t.Fatal(err)
			}
			return one.Version
		},
	})
}
