package writer

import (
	"context"
	"sync"

	"github.com/eventfuldb/eventful/pkg/lease"
)

// orders are what the Keeper of the leases wants of an engine, which obeys between two commands. A nil *orders wants nothing: its engine leads always.
type orders struct {
	changed chan struct{} // has one element when something changed that the engine has not looked at

	mu     sync.Mutex         // guards what follows
	lease  *lease.Lease       // ours; nil: follow the log
	leave  bool               // … and to be handed over
	left   *lease.Lease       // handed over, and not yet Gone
	ended  *ending            // not dealt with
	cancel context.CancelFunc // ends what is done under the lease
}

// ending is that a lease is gone.
type ending struct {
	republish bool // what was taken in and not decided is for the successor
}

func newOrders() *orders { return &orders{changed: make(chan struct{}, 1)} }

// come tells of changes.
func (o *orders) come() <-chan struct{} {
	if o == nil {
		return nil
	}
	return o.changed
}

func (o *orders) change(f func()) {
	o.mu.Lock()
	defer o.mu.Unlock()
	f()
	select {
	case o.changed <- struct{}{}:
	default:
	}
}

func (o *orders) lead(l *lease.Lease) {
	o.change(func() { o.lease, o.leave, o.left = l, false, nil })
}

func (o *orders) handOver(l *lease.Lease) {
	o.change(func() { o.leave = o.leave || o.lease == l })
}

func (o *orders) gone(l *lease.Lease, republish bool) {
	o.change(func() {
		switch l {
		case o.lease:
			o.lease, o.leave = nil, false
			if o.cancel != nil {
				o.cancel()
			}
		case o.left:
			o.left = nil
		default:
			return // a newer lease has taken its place
		}
		o.ended = &ending{republish: republish}
	})
}

// next gives the lease to lead under, nil for none, and the ending that is to be dealt with first.
func (o *orders) next() (l *lease.Lease, ended *ending) {
	o.mu.Lock()
	defer o.mu.Unlock()
	ended, o.ended = o.ended, nil
	return o.lease, ended
}

// begin says what ends the work under a lease; false: it is gone already.
func (o *orders) begin(l *lease.Lease, cancel context.CancelFunc) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.cancel = cancel
	return o.lease == l
}

// handedOver: Gone is still to come, or a new lease.
func (o *orders) handedOver(l *lease.Lease) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.lease == l {
		o.lease, o.leave, o.left = nil, false, l
	}
}

// leaving reports whether the log is to be handed over.
func (o *orders) leaving() bool {
	if o == nil {
		return false
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.leave
}

// settled reports whether the engine is to follow the log, and nothing about a former lease is open: what waits here is nobody's to decide.
func (o *orders) settled() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.lease == nil && o.left == nil && o.ended == nil
}

// idle reports whether the engine is to follow the log, and nothing else.
func (o *orders) idle() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.lease == nil && o.ended == nil
}
