package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
	"time"
)

// costs measures what a command costs the server's process, engines and NATS server together: allocations, and processor time. With --profiles it also keeps
// profiles for `go tool pprof`.
func costs(ctx context.Context, s *stage) error {
	counts, err := s.clientCounts()
	if err != nil {
		return err
	}
	if err := s.costsOfBare(ctx, counts); err != nil {
		return err
	}
	for _, with := range []struct{ name, flag string }{{"full path", "--projector"}, {"full path without projector", "--projector=false"}} {
		if err := s.costsOf(ctx, counts, with.name, with.flag); err != nil {
			return err
		}
	}
	return nil
}

// costsOfBare measures the bare pipeline, in a process of its own.
func (s *stage) costsOfBare(ctx context.Context, counts []int) (err error) {
	port, err := freePort()
	if err != nil {
		return err
	}
	address := "127.0.0.1:" + strconv.Itoa(port)
	server, url, err := launchServer(ctx, s.programs.server, os.Environ(), "bare", "--dir="+filepath.Join(s.dir, "bare-costs"), "--pprof="+address)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, server.stop()) }()
	for _, clients := range counts {
		f, err := newFleet(door{url: url, inbox: "_INBOX"}, clients, s.connections, s.bareRequests())
		if err != nil {
			return err
		}
		err = s.costsAt(ctx, fmt.Sprintf("%s, %d clients", barePipeline, clients), "http://"+address+"/debug/", f)
		f.close()
		if err != nil {
			return err
		}
	}
	return nil
}

func (s *stage) costsOf(ctx context.Context, counts []int, name, flag string) error {
	port, err := freePort()
	if err != nil {
		return err
	}
	one, err := s.site("costs" + strconv.Itoa(len(s.sites)))
	if err != nil {
		return err
	}
	address := "127.0.0.1:" + strconv.Itoa(port)
	if err := one.startEngines(ctx, flag, "--pprof="+address); err != nil {
		return err
	}
	b := one.books("a", s.aggregates, s.data)
	for _, clients := range counts {
		f, err := newFleet(one.door(), min(clients, s.aggregates), s.connections, b.commands)
		if err != nil {
			return err
		}
		err = s.costsAt(ctx, fmt.Sprintf("%s, %d clients", name, clients), "http://"+address+"/debug/", f)
		f.close()
		if err != nil {
			return err
		}
	}
	return nil
}

func (s *stage) costsAt(ctx context.Context, name, debug string, f *fleet) error {
	if _, err := f.round(ctx, s.round); err != nil { // warm
		return err
	}
	lasting := s.round * time.Duration(s.rounds)
	kept := make(chan error, 1)
	go func() { kept <- s.keepProfile(ctx, debug+"pprof/profile?seconds="+seconds(lasting), name+" cpu.pprof") }()
	ours, err := processorTime()
	if err != nil {
		return err
	}
	before, err := memoryOf(ctx, debug+"vars")
	if err != nil {
		return err
	}
	figures, err := f.round(ctx, lasting)
	if err != nil {
		return err
	}
	commands := float64(figures.answered)
	now, err := processorTime()
	if err != nil {
		return err
	}
	after, err := memoryOf(ctx, debug+"vars")
	if err != nil {
		return err
	}
	if err := <-kept; err != nil {
		return err
	}
	s.alone("while costs are measured, "+name, figures.perSecond, "commands/s", nil)
	s.alone("allocations a command, "+name, float64(after.Mallocs-before.Mallocs)/commands, "", nil)
	s.alone("allocated bytes a command, "+name, float64(after.TotalAlloc-before.TotalAlloc)/commands, "bytes", nil)
	s.alone("processor time a command, "+name, (after.processor-before.processor)*1e6/commands, "µs", nil)
	s.alone("context switches a command, "+name, (after.switches-before.switches)/commands, "", nil)
	s.alone("processor time a command of the clients, "+name, (now-ours)*1e6/commands, "µs", nil)
	return s.keepProfile(ctx, debug+"pprof/allocs", name+" allocs.pprof")
}

// processorTime is what the clients, this process, have taken so far, in seconds.
func processorTime() (float64, error) {
	var used syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &used); err != nil {
		return 0, fmt.Errorf("ask for the processor time: %w", err)
	}
	return time.Duration(used.Utime.Nano() + used.Stime.Nano()).Seconds(), nil
}

func seconds(d time.Duration) string { return strconv.Itoa(max(1, int(d.Seconds()))) }

// serverMemory is what a Go process says of itself, and the processor time that it took, in seconds.
type serverMemory struct {
	Mallocs, TotalAlloc uint64
	processor, switches float64
}

func memoryOf(ctx context.Context, url string) (m serverMemory, err error) {
	text, err := get(ctx, url)
	if err != nil {
		return m, err
	}
	var vars struct {
		Memstats  serverMemory `json:"memstats"`
		Processor float64      `json:"processor"`
		Switches  float64      `json:"switches"`
	}
	if err := json.Unmarshal(text, &vars); err != nil {
		return m, fmt.Errorf("read %s: %w", url, err)
	}
	vars.Memstats.processor, vars.Memstats.switches = vars.Processor, vars.Switches
	return vars.Memstats, nil
}

// keepProfile writes a profile into the folder of --profiles; without one there is nothing to do.
func (s *stage) keepProfile(ctx context.Context, url, name string) error {
	if s.profiles == "" {
		return nil
	}
	profile, err := get(ctx, url)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(s.profiles, 0o755); err != nil {
		return fmt.Errorf("keep profile: %w", err)
	}
	if err := os.WriteFile(filepath.Join(s.profiles, name), profile, 0o644); err != nil {
		return fmt.Errorf("keep profile: %w", err)
	}
	return nil
}

func get(ctx context.Context, url string) ([]byte, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, err
	}
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		return nil, fmt.Errorf("ask the server of itself: %w", err)
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err == nil && answer.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %.200s", answer.Status, text)
	}
	if err != nil {
		return nil, fmt.Errorf("get %s: %w", url, err)
	}
	return text, nil
}
