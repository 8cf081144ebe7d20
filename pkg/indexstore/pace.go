package indexstore

import "time"

// What is written here nobody waits for. At full speed it takes a processor for a tenth of a second, and Go gives it to those who are waited for every 10 ms only: the
// slowest requests of a process with two processors then took four to five times what the usual ones take. So a batch that has time is written in slices, with
// pauses between them.
const (
	paceSlice = time.Millisecond       // work between two pauses
	paceEvery = 32                     // entries and records between two looks at the clock
	paceWhole = 200 * time.Millisecond // what a batch may take with its pauses
	paceMost  = 4                      // a pause is at most so many times as long as the work before it
)

// pacer makes the pauses. A nil one makes none.
type pacer struct {
	pause  float64 // beside the work before it
	haste  <-chan struct{}
	begun  time.Time
	slice  time.Time // when the work since the last pause began
	passed int       // since the last look at the clock
	paused time.Duration
}

func newPacer(pause float64, haste <-chan struct{}) *pacer {
	now := time.Now()
	return &pacer{pause: pause, haste: haste, begun: now, slice: now}
}

// pauseFor says how long the pauses of a batch are, beside the work: with them it takes a third of the time that has passed since the last one at most, so what waits to be written
// does not grow; how much work it is, is told by the last one.
func pauseFor(since, work time.Duration) float64 {
	if work <= 0 {
		return 0
	}
	return max(0, min(paceMost, float64(min(since/3, paceWhole)-work)/float64(work)))
}

// step is called for each entry and record.
func (p *pacer) step() {
	if p == nil || p.pause <= 0 {
		return
	}
	if p.passed++; p.passed < paceEvery {
		return
	}
	p.passed = 0
	worked := time.Since(p.slice)
	if worked < paceSlice {
		return
	}
	p.rest(time.Duration(p.pause * float64(min(worked, 2*paceSlice)))) // it may have been stopped by others meanwhile
}

func (p *pacer) rest(long time.Duration) {
	began := time.Now()
	timer := time.NewTimer(long)
	select {
	case <-timer.C:
	case <-p.haste:
		timer.Stop()
		p.pause = 0
	}
	p.slice = time.Now()
	p.paused += p.slice.Sub(began)
}

// work is how long it took without the pauses.
func (p *pacer) work() time.Duration { return time.Since(p.begun) - p.paused }
