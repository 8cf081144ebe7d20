package run_test

import (
	"testing"

	"github.com/eventfuldb/eventful/cmd/internal/run"
	"github.com/eventfuldb/eventful/cmd/internal/space"
)

// A writer on servers elsewhere tells of its own full disk, so that others get its logs; one beside its own server does not, as the logs lie there.
func TestWhoTellsThatThereIsNoRoom(t *testing.T) {
	free := uint64(10)
	look := func(string) (space.Usage, error) { return space.Usage{Free: free, Total: 100}, nil }
	config := space.Config{Folders: []space.Folder{{Name: "data folder", Dir: "/data"}}, Limits: space.Limits{Percent: 5}, Look: look}
	if room := run.RoomOf(run.Engines{}, space.New(config)); room == nil || !room() {
		t.Error("elsewhere: got no room, want some")
	}
	free = 1
	if room := run.RoomOf(run.Engines{}, space.New(config)); room == nil || room() {
		t.Error("elsewhere: got room on a full disk, want none")
	}
	if room := run.RoomOf(run.Engines{LogDir: "/data/jetstream"}, space.New(config)); room != nil {
		t.Error("beside a server of its own: something is told of room")
	}
}
