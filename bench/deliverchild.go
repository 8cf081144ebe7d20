package main

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"net"
)

// toProcess measures how fast changes get through a program that acknowledges all it is given.
func toProcess(ctx context.Context, s *stage) error {
	one, b, err := s.delivering(ctx, s.delivered)
	if err != nil {
		return err
	}
	child, err := newWatcher()
	if err != nil {
		return err
	}
	defer child.close()
	if err := one.plugin(ctx, "child", "--type=process", "--command="+s.server+" child "+child.address()); err != nil {
		return err
	}
	var rates []float64
	for turn := range s.rounds {
		if turn > 0 {
			if _, err := one.run(ctx, "plugin:replay", "child", "--all", "-f"); err != nil {
				return err
			}
		}
		rate, err := child.arrivals().rate(ctx, b.stored())
		if err != nil {
			return err
		}
		rates = append(rates, rate)
	}
	s.alone("process plugin", median(rates), "events/s", atLeast(50_000))
	return nil
}

// watcher hears from `bench/server child` what came.
type watcher struct {
	listener net.Listener
	came     chan uint64 // how many more
}

func newWatcher() (*watcher, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("listen for the program of the plugin: %w", err)
	}
	w := &watcher{listener: l, came: make(chan uint64, 1<<16)}
	go w.accept()
	return w, nil
}

func (w *watcher) address() string { return w.listener.Addr().String() }

func (w *watcher) close() { _ = w.listener.Close() } // those who call end with the server that they belong to

func (w *watcher) accept() {
	for {
		c, err := w.listener.Accept()
		if err != nil {
			return
		}
		go w.hear(c)
	}
}

func (w *watcher) hear(c net.Conn) {
	defer c.Close()
	var n [8]byte
	for {
		if _, err := io.ReadFull(c, n[:]); err != nil {
			return // the program has ended
		}
		w.came <- binary.BigEndian.Uint64(n[:])
	}
}

// arrivals counts from now on.
func (w *watcher) arrivals() arrivals { return adding(w.came) }
