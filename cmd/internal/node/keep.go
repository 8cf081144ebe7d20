package node

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"
)

const (
	// lookEvery is how often a node makes sure that JetStream is on, and while the store cannot be written, whether it can again.
	lookEvery = 250 * time.Millisecond
	// restartAtMost bounds the pause between two tries to start the server anew.
	restartAtMost = 10 * time.Second
)

// keeper starts the server of a node anew after it could not write its store.
//
// Side effects in order, and what a crash behind each leaves: (1) the fault is noted: writers refuse. (2) When the store can be written the old server ends: what it
// acknowledged is on disk, what it did not may be. (3) The new one recovers the store; who waited for an answer finds out by reading. (4) The fault is taken back.
type keeper struct {
	node    *Node
	faults  chan struct{} // has an element when a fault was noted
	ctx     context.Context
	cancel  context.CancelFunc
	running sync.WaitGroup
}

func newKeeper(n *Node) *keeper {
	k := &keeper{node: n, faults: make(chan struct{}, 1)}
	k.ctx, k.cancel = context.WithCancel(context.Background())
	return k
}

func (k *keeper) begin() {
	k.running.Go(k.keep)
	k.running.Go(func() { k.node.refuser.watch(k.ctx) })
}

// end ends the keeper and waits for it; it may be called more than once.
func (k *keeper) end() {
	k.cancel()
	k.running.Wait()
}

// Fault is why the store cannot be written; nil: it can. Reads may go on meanwhile.
func (n *Node) Fault() error {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.fault
}

// report notes a fault. It is called by the server's goroutines, which hold its locks, so it does nothing else.
func (k *keeper) report(why string) {
	n := k.node
	n.mu.Lock()
	n.fault, n.faults = errors.New("the logs cannot be written: "+cause(why)), n.faults+1
	n.mu.Unlock()
	select {
	case k.faults <- struct{}{}:
	default:
	}
}

// cause is the end of a message, where the system's error stands. The log has all of it.
func cause(message string) string {
	if i := strings.LastIndex(message, ": "); i >= 0 {
		return message[i+2:]
	}
	return message
}

// keep waits for faults, and for a JetStream that turned itself off without a word that is known.
func (k *keeper) keep() {
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	for {
		select {
		case <-k.ctx.Done():
			return
		case <-k.faults:
		case <-tick.C:
			if s, _ := k.node.now(); s != nil && s.JetStreamEnabled() {
				continue
			}
			k.report("JetStream is off")
		}
		k.node.config.Log.Error().Err(k.node.Fault()).Msg("server is started anew when its store can be written again")
		k.mend(tick.C)
	}
}

// mend starts the server anew as soon as the store can be written.
func (k *keeper) mend(tick <-chan time.Time) {
	n := k.node
	for wait, next := lookEvery, time.Now(); ; {
		if n.config.Usable == nil || n.config.Usable() == nil && !time.Now().Before(next) {
			err := k.restart()
			if err == nil {
				n.config.Log.Info().Msg("server was started anew; its store can be written again")
				return
			}
			if k.ctx.Err() != nil {
				return
			}
			n.config.Log.Error().Err(err).Dur("retry", wait).Msg("server could not be started anew")
			next = time.Now().Add(wait)
			wait = min(2*wait, restartAtMost)
		}
		select {
		case <-k.ctx.Done():
			return
		case <-tick:
		}
	}
}

// restart ends the server and starts another one on the same store and port. The fault stands until that one serves without another fault.
func (k *keeper) restart() error {
	n := k.node
	n.stop()
	select { // what the old server said while it ended
	case <-k.faults:
	default:
	}
	n.mu.Lock()
	before := n.faults
	n.mu.Unlock()
	err := n.start(k.ctx)
	if err == nil && n.config.Usable != nil {
		if again := n.config.Usable(); again != nil { // it serves what it has; the fault stands
			return fmt.Errorf("the store could be written, and cannot behind the start: %w", again)
		}
	}
	n.mu.Lock()
	switch {
	case err == nil && n.faults == before:
		n.fault = nil
	case err == nil:
		err = n.fault
	}
	n.mu.Unlock()
	if err != nil {
		n.stop()
		return fmt.Errorf("start the NATS server anew: %w", err)
	}
	return nil
}
