// Package files is a plugin in Go, to begin one's own with: the newest event of each aggregate stands in a file of a folder.
//
// To try it, name files.Kind() in Kinds of cmd/internal/run/plugins.go, build, and:
//
//	eventful plugin:config files --dir=/srv/files && eventful plugin:test files && eventful plugin:enable files
package files

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"

	"github.com/eventfuldb/eventful/pkg/event"
	"github.com/eventfuldb/eventful/pkg/plugin"
)

// Kind is the plugin type files.
func Kind() *plugin.Kind {
	return &plugin.Kind{
		Name: "files", Summary: "keeps the newest event of each aggregate in a file",
		Options: []plugin.Option{{Name: "dir", Help: "folder of the files, which is made if it is missing", Required: true}},
		Open: func(_ context.Context, s plugin.Settings) (plugin.Plugin, error) {
			if err := os.MkdirAll(s.Options["dir"], 0o700); err != nil {
				return nil, fmt.Errorf("make the folder: %w", err)
			}
			return folder(s.Options["dir"]), nil
		},
	}
}

// folder is an open target. The engine never has two changes of one aggregate in two calls at the same time, so nothing needs a lock.
type folder string

// content is what a file holds.
type content struct {
	Version event.Version     `json:"version"`
	Fields  map[string]string `json:"fields"`
}

// Deliver implements plugin.Plugin. What cannot be written now is tried again: no change is to blame.
func (f folder) Deliver(ctx context.Context, b plugin.Batch) []plugin.Outcome {
	outcomes := make([]plugin.Outcome, len(b.Changes)) // the zero value is Retry
	for i := range b.Changes {
		if ctx.Err() != nil {
			return outcomes
		}
		if err := f.take(&b.Changes[i]); err != nil {
			outcomes[i] = plugin.Retry(err)
			continue
		}
		outcomes[i] = plugin.Done()
	}
	return outcomes
}

// take brings one change into its file. A change may come again: the version tells what is there already.
func (f folder) take(c *plugin.Change) error {
	there, err := f.read(c.Aggregate)
	switch {
	case err != nil:
		return err
	case c.Forgotten: // data:forget: out with these fields, and the version stays
		for i := range c.Fields {
			delete(there.Fields, c.Fields[i].Name)
		}
	case c.Version <= there.Version:
		return nil
	default:
		there = content{Version: c.Version, Fields: map[string]string{}}
		for i := range c.Fields {
			if field := &c.Fields[i]; field.Set {
				there.Fields[field.Name] = field.Value
			}
		}
	}
	return f.write(c.Aggregate, there)
}

func (f folder) path(a event.AggregateID) string {
	return filepath.Join(string(f), url.PathEscape(a.String())+".json")
}

func (f folder) read(a event.AggregateID) (there content, err error) {
	text, err := os.ReadFile(f.path(a))
	if errors.Is(err, fs.ErrNotExist) {
		return content{}, nil
	}
	if err == nil {
		err = json.Unmarshal(text, &there)
	}
	if err != nil {
		return content{}, fmt.Errorf("read what is there: %w", err)
	}
	return there, nil
}

// write comes back when the file is on disk: what was acknowledged is not delivered again.
func (f folder) write(a event.AggregateID, c content) error {
	text, err := json.Marshal(c)
	if err != nil {
		return fmt.Errorf("encode a file: %w", err)
	}
	file, err := os.Create(f.path(a) + ".new")
	if err != nil {
		return fmt.Errorf("make a file: %w", err)
	}
	_, err = file.Write(text)
	if err = errors.Join(err, file.Sync(), file.Close()); err == nil {
		err = os.Rename(file.Name(), f.path(a))
	}
	if err == nil {
		err = f.sync()
	}
	if err != nil {
		return fmt.Errorf("write a file: %w", err)
	}
	return nil
}

// sync has the names in the folder on disk.
func (f folder) sync() error {
	dir, err := os.Open(string(f))
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}

// Test implements plugin.Plugin: a dummy change is written, and removed again.
func (f folder) Test(context.Context) error {
	c := plugin.Dummy()
	if err := f.take(&c); err != nil {
		return err
	}
	return os.Remove(f.path(c.Aggregate))
}

// Close implements plugin.Plugin.
func (f folder) Close() error { return nil }
