package writer

import (
	"crypto/rand"

	"github.com/eventfuldb/eventful/pkg/event"
)

// idSource gives random ids and salts, 128 for one question to the system. The zero value is ready; it is for one goroutine.
type idSource struct {
	bytes [128 * 16]byte
	left  int
}

func (r *idSource) next() (id event.ID16) {
	if r.left < len(id) {
		rand.Read(r.bytes[:]) // never fails (crypto/rand)
		r.left = len(r.bytes)
	}
	r.left -= copy(id[:], r.bytes[len(r.bytes)-r.left:])
	return id
}
