package run

import (
	"github.com/nats-io/nats.go"

	"github.com/eventfuldb/eventful/pkg/jetlog"
	"github.com/eventfuldb/eventful/pkg/keyring"
)

// Make connects with the right to make one stream in an account, and no other, for a minute (docs/adr/0015-makers.md).
type Make func(account keyring.Account, stream string, options ...nats.Option) (*nats.Conn, error)

// making are the options of a store on a connection in an account whose streams this process makes when they are missing: all that a writer's are.
func (e Engines) making(account keyring.Account, near *nats.Conn) jetlog.Options {
	return jetlog.Options{Replicas: e.Replicas, Maker: func(stream string) (*nats.Conn, error) { return e.Make(account, stream, besides(near)...) }}
}

// besides are the options of a short connection beside one that lasts: to any server that it knows.
func besides(near *nats.Conn) []nats.Option {
	return append(jetlog.ConnectOptions(), func(o *nats.Options) error {
		if known := near.Servers(); len(known) > 0 {
			o.Servers = known
		}
		return nil
	})
}
