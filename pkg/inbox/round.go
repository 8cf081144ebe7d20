package inbox

import (
	"context"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/eventfuldb/eventful/pkg/aggregate"
	"github.com/eventfuldb/eventful/pkg/event"
	"github.com/eventfuldb/eventful/pkg/jetlog"
	"github.com/eventfuldb/eventful/pkg/problem"
	"github.com/eventfuldb/eventful/streams"
)

const (
	doubtful  = 16              // commands of types that just failed which are sent at the same time
	soonPause = 2 * time.Second // at most, before what may be stored is sent again
	keptBytes = 32 << 20        // of waiting commands; beyond it a body is read again when its turn comes
)

// item is a letter with its place in the order.
type item struct {
	sequence uint64
	ack      jetlog.Receipt
	letter   *jetlog.Letter // nil: to be read again
	size     int
	command  string              // the subject without the inbox's mark
	kind     string              // aggregate type
	about    []event.AggregateID // none: it depends on nothing
	bad      *problem.Problem    // it cannot be sent at all
	before   int                 // aggregates of it where another item is first
	early    bool                // it was started before its turn: it is to be dropped
	tries    int
	timer    *time.Timer // of its pause; nil: it does not pause
}

// result is an item that was sent, and what came of it.
type result struct {
	item    *item
	outcome outcome
}

// round is one delivery: the items that wait, in order for each aggregate. One goroutine, that of run, owns everything but results and workers.
type round struct {
	inbox   *Inbox
	lanes   map[event.AggregateID][]*item
	ready   []*item            // may be sent
	doubted []*item            // may be sent, and their type failed a moment ago
	failing map[string]bool    // types
	resting map[*item]struct{} // that pause
	busy    int                // items that are being sent …
	narrow  map[*item]struct{} // … of them, those of failing types
	kept    int                // bytes of letters in memory
	results chan result        // of workers
	woken   chan *item         // whose pause is over
	workers sync.WaitGroup     // senders, and the receiver
	quit    chan struct{}      // closed when run has ended
}

func newRound(i *Inbox) *round {
	return &round{
		inbox: i, lanes: map[event.AggregateID][]*item{}, failing: map[string]bool{}, resting: map[*item]struct{}{}, narrow: map[*item]struct{}{},
		results: make(chan result), woken: make(chan *item), quit: make(chan struct{}),
	}
}

// run works until the delivery ends or this process does not lead any more.
func (r *round) run(ctx context.Context, letters <-chan *jetlog.Letter, ended <-chan error, begun func()) error {
	defer r.rest()
	lead := time.NewTicker(leadPeriod)
	defer lead.Stop()
	for {
		r.send(ctx)
		from := letters
		if len(r.ready) >= r.inbox.cfg.Concurrency { // enough to do: the server keeps the rest
			from = nil
		}
		select {
		case letter := <-from:
			begun()
			r.add(letter)
		case done := <-r.results:
			r.done(done)
		case it := <-r.woken:
			it.timer = nil
			delete(r.resting, it)
			r.enqueue(it)
		case <-r.inbox.poke:
			r.drop(ctx)
		case <-lead.C:
			if !r.inbox.cfg.Lead() {
				return nil
			}
		case err := <-ended:
			return err
		case <-ctx.Done():
			return nil
		}
	}
}

// rest stops every pause; what is being sent goes on until its context ends.
func (r *round) rest() {
	close(r.quit)
	for it := range r.resting {
		it.timer.Stop()
	}
}

// add puts a letter behind the others of its aggregates.
func (r *round) add(l *jetlog.Letter) {
	it := &item{sequence: l.Sequence, ack: l.Ack, letter: l, size: len(l.Data)}
	it.address(l)
	for _, a := range it.about {
		if len(r.lanes[a]) > 0 {
			it.before++
		}
		r.lanes[a] = append(r.lanes[a], it)
	}
	if r.kept += it.size; it.before == 0 {
		r.enqueue(it)
	} else if r.kept > keptBytes {
		r.forget(it)
	}
}

func (r *round) forget(it *item) {
	if it.letter != nil {
		r.kept -= it.size
		it.letter = nil
	}
}

// address finds out what a letter is about, or why it cannot be sent.
func (it *item) address(l *jetlog.Letter) {
	command, ok := streams.OfInbox(l.Subject)
	it.command = command
	if a, _, err := streams.ParseCommandSubject(command); ok && err == nil {
		it.kind, it.about = a.Type, []event.AggregateID{a}
		return
	}
	kind, err := streams.ParseTransactionSubject(command)
	if !ok || err != nil {
		it.bad = problem.New(problem.Malformed, "subject %.200q is neither inbox.cmd.<type>.<id>.<event> nor inbox.cmd.<type>", l.Subject).
			WithHint("docs/spec/subjects.md says how an id is escaped")
		return
	}
	changes, err := aggregate.DecodeTransaction(l.Data)
	if err != nil {
		it.bad = problem.From(err)
		return
	}
	it.kind = kind
	seen := map[event.AggregateID]bool{}
	for _, c := range changes {
		if !seen[c.Aggregate] {
			seen[c.Aggregate] = true
			it.about = append(it.about, c.Aggregate)
		}
	}
}

// enqueue lets an item be sent when there is room.
func (r *round) enqueue(it *item) {
	if !r.failing[it.kind] {
		r.ready = append(r.ready, it)
		return
	}
	if r.doubted = append(r.doubted, it); r.kept > keptBytes {
		r.forget(it)
	}
}

// send starts as many items as there is room for.
func (r *round) send(ctx context.Context) {
	for len(r.ready) > 0 && r.busy-len(r.narrow) < r.inbox.cfg.Concurrency {
		it := r.ready[0]
		if r.ready = r.ready[1:]; r.failing[it.kind] && !r.inbox.dropped(it) {
			r.doubted = append(r.doubted, it)
			continue
		}
		r.start(ctx, it)
	}
	for len(r.doubted) > 0 && len(r.narrow) < doubtful {
		it := r.doubted[0]
		r.doubted = r.doubted[1:]
		r.narrow[it] = struct{}{}
		r.start(ctx, it)
	}
}

func (r *round) start(ctx context.Context, it *item) {
	r.busy++
	r.workers.Go(func() {
		came := r.inbox.settle(ctx, it)
		select {
		case r.results <- result{it, came}:
		case <-r.quit:
		}
	})
}

// done takes a result: the item is gone, and those behind it come up, or it pauses and its type is doubted.
func (r *round) done(x result) {
	it := x.item
	r.busy--
	delete(r.narrow, it)
	if x.outcome != settled {
		if it.bad == nil {
			r.failing[it.kind] = true
		}
		it.tries++
		r.resting[it] = struct{}{}
		if r.kept > keptBytes {
			r.forget(it)
		}
		it.timer = time.AfterFunc(r.pauseOf(x), func() {
			select {
			case r.woken <- it:
			case <-r.quit:
			}
		})
		return
	}
	r.forget(it)
	for _, a := range it.about {
		at := slices.Index(r.lanes[a], it)
		left := r.lanes[a][1:]
		if at > 0 {
			left = slices.Delete(r.lanes[a], at, at+1)
		}
		if len(left) == 0 {
			delete(r.lanes, a)
			continue
		}
		r.lanes[a] = left
		if at > 0 {
			continue
		}
		if left[0].before--; left[0].before == 0 && !left[0].early {
			r.enqueue(left[0])
		}
	}
	if r.failing[it.kind] {
		r.recovered(it.kind)
	}
}

// drop starts the items that are to be dropped: those that pause, and those whose turn has not come.
func (r *round) drop(ctx context.Context) {
	r.wake(r.inbox.dropped)
	r.doubted = slices.DeleteFunc(r.doubted, func(it *item) bool {
		dropped := r.inbox.dropped(it)
		if dropped {
			r.ready = append(r.ready, it)
		}
		return dropped
	})
	for _, a := range r.inbox.forgetting() {
		for _, it := range r.lanes[a] {
			if it.before > 0 && !it.early && r.inbox.dropped(it) {
				it.early = true
				r.start(ctx, it)
			}
		}
	}
}

// wake ends the pauses of items.
func (r *round) wake(which func(*item) bool) {
	for it := range r.resting {
		if which(it) && it.timer.Stop() {
			it.timer = nil
			delete(r.resting, it)
			r.ready = append(r.ready, it)
		}
	}
}

// recovered lets the items of a type go on at once.
func (r *round) recovered(kind string) {
	delete(r.failing, kind)
	r.wake(func(it *item) bool { return it.kind == kind })
	var still []*item
	for _, it := range r.doubted {
		if it.kind == kind {
			r.ready = append(r.ready, it)
		} else {
			still = append(still, it)
		}
	}
	r.doubted = still
}

// pauseOf doubles from the first to the last pause, shortened by up to half at random.
func (r *round) pauseOf(x result) time.Duration {
	p := r.inbox.cfg.LastPause
	if x.outcome == soon {
		p = min(p, soonPause)
	}
	if shift := x.item.tries - 1; shift < 16 {
		p = min(r.inbox.cfg.FirstPause<<shift, p)
	}
	return p/2 + rand.N(p/2+1)
}
