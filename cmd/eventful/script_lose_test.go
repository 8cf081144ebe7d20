package main

import (
	"bytes"
	"errors"
	"io"
	"net"
	"strings"

	"github.com/rogpeppe/go-internal/testscript"
)

// loser carries connections to a server, but loses an answer.
type loser struct {
	listener net.Listener
	to       string
	words    []byte
	done     chan struct{}
}

// losing WORDS URL VAR listens in front of a server, puts its own URL into a variable, and cuts a connection in place of the first answer that has the words.
func losing(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 3 {
		ts.Fatalf("usage: losing WORDS URL VAR")
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	ts.Check(err)
	l := &loser{listener: listener, to: strings.TrimPrefix(args[1], "nats://"), words: []byte(args[0]), done: make(chan struct{})}
	go l.accept()
	ts.Defer(func() {
		listener.Close()
		<-l.done
	})
	ts.Setenv(args[2], "nats://"+listener.Addr().String())
}

func (l *loser) accept() {
	defer close(l.done)
	for {
		near, err := l.listener.Accept()
		if err != nil {
			return
		}
		far, err := net.Dial("tcp", l.to)
		if err != nil {
			near.Close()
			continue
		}
		sent := make(chan struct{})
		go func() {
			defer close(sent)
			_, _ = io.Copy(far, near)
			far.Close()
		}()
		l.answers(near, far)
		near.Close()
		<-sent
	}
}

// answers are carried one connection at a time.
func (l *loser) answers(near, far net.Conn) {
	defer far.Close()
	buffer := make([]byte, 64<<10)
	for {
		n, err := far.Read(buffer)
		if bytes.Contains(buffer[:n], l.words) {
			return
		}
		if _, failed := near.Write(buffer[:n]); errors.Join(err, failed) != nil {
			return
		}
	}
}
