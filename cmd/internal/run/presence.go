package run

import (
	"context"
	"errors"
	"path/filepath"
	"sync"
	"time"

	"github.com/rs/zerolog"
)

// presenceEvery is how long a server stays without its files at most, if somebody removes them.
const presenceEvery = time.Second

// presence keeps what a running server says of itself in the data folder: the lock file, run.json and the pid file.
type presence struct {
	dir  string
	lock *Lock

	mu   sync.Mutex // guards what follows, and the files
	info Info
}

// tell changes what is said, and writes it. It gives a copy.
func (p *presence) tell(change func(*Info)) (*Info, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	change(&p.info)
	info := p.info
	return &info, errors.Join(p.lock.record(&info), info.publish(p.dir))
}

// keep writes files that vanish again, until ctx ends: then it says that the server is stopping. What cannot be written is said once, until it can.
func (p *presence) keep(ctx context.Context, log zerolog.Logger) {
	tick := time.NewTicker(presenceEvery)
	defer tick.Stop()
	silent := false
	for {
		select {
		case <-ctx.Done():
			if _, err := p.tell(func(i *Info) { i.Stopping = true }); err != nil && !silent {
				log.Warn().Err(err).Msg("that the server is stopping could not be written down")
			}
			return
		case <-tick.C:
		}
		err := p.mend()
		if err != nil && !silent {
			log.Error().Err(err).Msg("files that tell of the server are missing and could not be written again")
		}
		silent = err != nil
	}
}

func (p *presence) mend() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.lock.inPlace() {
		if err := p.lock.restore(); err != nil {
			return err
		}
		if err := p.lock.record(&p.info); err != nil {
			return err
		}
	}
	if exists(filepath.Join(p.dir, infoFile)) && exists(filepath.Join(p.dir, pidFile)) {
		return nil
	}
	return p.info.publish(p.dir)
}

// end removes run.json and the pid file; the lock is its owner's to release.
func (p *presence) end() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	return withdraw(p.dir)
}
