package delivery

import (
	"math/rand/v2"
	"time"
)

// firstBackoff is the pause before something is tried for the second time.
const firstBackoff = 50 * time.Millisecond

// backoff is the pause before the next try behind so many: twice as long each time up to the longest, less a random part of up to half, so that those who
// failed together do not come back together.
func backoff(tries int, longest time.Duration) time.Duration {
	d := longest
	if tries < 20 {
		d = min(firstBackoff<<max(tries-1, 0), longest)
	}
	return d - rand.N(d/2+1)
}

// breaker stops calls to a target that fails altogether: from then on one change at a time is tried, with pauses, until one goes through.
type breaker struct {
	longest time.Duration
	fails   int // batches in a row of which nothing went through
	until   time.Time
	proved  bool // something went through once
}

// breakAfter is how many batches in a row fail before calls stop.
const breakAfter = 3

func (b *breaker) open() bool { return b.fails >= breakAfter }

// closed reports whether a call may be made, so many being under way.
func (b *breaker) closed(now time.Time, busy int) bool {
	return !b.open() || busy == 0 && !now.Before(b.until)
}

// size is how many changes the next call may have.
func (b *breaker) size(batch int) int {
	if b.open() {
		return 1
	}
	return batch
}

// note takes up whether something of a batch went through; it tells when the target is there again.
func (b *breaker) note(now time.Time, through bool) (back bool) {
	if through {
		back = b.open()
		b.fails, b.until, b.proved = 0, time.Time{}, true
		return back
	}
	b.fails++
	b.until = now.Add(backoff(b.fails-breakAfter+1, b.longest))
	return false
}

// rate bounds how many changes go out each second; what was not used is saved up for a second at most.
type rate struct {
	perSecond float64 // 0: no bound
	saved     float64
	at        time.Time
}

// take gives how many of the wanted changes may go now.
func (r *rate) take(now time.Time, wanted int) int {
	if r.perSecond == 0 {
		return wanted
	}
	r.refill(now)
	n := min(wanted, int(r.saved))
	r.saved -= float64(n)
	return n
}

func (r *rate) refill(now time.Time) {
	if r.at.IsZero() {
		r.saved = 1
	} else {
		r.saved = min(r.saved+now.Sub(r.at).Seconds()*r.perSecond, max(r.perSecond, 1))
	}
	r.at = now
}

func (r *rate) giveBack(n int) {
	if r.perSecond > 0 {
		r.saved += float64(n)
	}
}

// next is when another change may go.
func (r *rate) next(now time.Time) time.Time {
	if r.perSecond == 0 || r.saved >= 1 {
		return now
	}
	return now.Add(time.Duration((1-r.saved)/r.perSecond*float64(time.Second)) + time.Millisecond)
}
