package node

import (
	"github.com/nats-io/nats-server/v2/server"
	"github.com/rs/zerolog"
)

// NewBridge carries the server's log into ours.
func NewBridge(log zerolog.Logger, broken func(string)) server.Logger { return newBridge(log, broken) }
