package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/eventfuldb/eventful/cmd/internal/run"
	"github.com/eventfuldb/eventful/cmd/internal/space"
	"github.com/eventfuldb/eventful/pkg/client"
	"github.com/eventfuldb/eventful/pkg/problem"
)

// statusPatience bounds each question that status asks the server.
const statusPatience = 3 * time.Second

// endPatience is how long status waits for a server that was ready, does not answer, and so is perhaps just ending.
const endPatience = time.Second

// Words for the state of a server.
const (
	stateStopped  = "stopped"
	stateStarting = "starting"
	stateStopping = "stopping"
	stateRunning  = "running"
	stateRefusing = "refusing writes"
	stateLapsed   = "not writing"
	stateNoInbox  = "not delivering the inbox"
)

// States of a log that takes no commands, as adm.server.status has them.
const (
	logStopped   = "stopped"
	logUnwritten = "recovering"
)

// takenPatience is how long a log may be written by no process, as while it changes hands, before status says so.
const takenPatience = 2 * time.Second

// serverStatus is what `status` prints.
type serverStatus struct {
	State     string          `json:"state"`
	DataDir   string          `json:"data-dir"`
	Version   string          `json:"version,omitempty"` // of the server, not of this program
	Site      string          `json:"site,omitempty"`
	MovedTo   string          `json:"moved-to,omitempty"` // the folder was given up for that one (store:reencrypt)
	PID       int             `json:"pid,omitempty"`
	Since     *time.Time      `json:"since,omitempty"`
	NATS      string          `json:"nats,omitempty"`
	HTTP      string          `json:"http,omitempty"`
	Log       string          `json:"log,omitempty"` // the file, if there is one
	NoEngines bool            `json:"no-engines,omitempty"`
	Unsafe    bool            `json:"unsafe-no-sync,omitempty"`
	Engines   json.RawMessage `json:"engines,omitempty"` // the answer of adm.server.status
}

// engineStatus is the part of adm.server.status that the table shows.
type engineStatus struct {
	Logs     []logState     `json:"logs"`
	Held     uint64         `json:"held"`
	Limit    uint64         `json:"limit"`
	Inbox    string         `json:"inbox"`
	Refusing string         `json:"refusing"`
	Disks    []space.Volume `json:"disks"`
	Archive  string         `json:"archive"`
}

// logState is how a log is written and how far its index is.
type logState struct {
	Log        string  `json:"log"`
	State      string  `json:"state"`
	Writer     string  `json:"writer"`
	Position   string  `json:"position"`
	Indexed    uint64  `json:"indexed"`
	LagEvents  uint64  `json:"lag-events"`
	LagSeconds float64 `json:"lag-seconds"`
	Unsigned   string  `json:"unsigned,omitempty"`
	Foreign    uint64  `json:"foreign"`
	Archived   uint64  `json:"archived"`
	Error      string  `json:"error"`
}

func newStatusCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "status",
		Short: "Say whether a server runs on the data folder, where, and how far it is",
		Long:  "Say whether a server runs on the data folder, where, and how far it is. The exit status is 0 if it accepts commands for every log, nothing lies at the end of one that its writer did not store, and it delivers the commands of the inbox, else 6.",
		Args:  cobra.NoArgs,
		RunE:  func(cmd *cobra.Command, _ []string) error { return a.status(cmd.Context()) },
	}
}

func (a *app) status(ctx context.Context) error {
	if err := a.statusIsLocal(); err != nil {
		return err
	}
	dir := a.settings.DataDir
	s := serverStatus{State: stateStopped, DataDir: dir, Site: a.settings.Site}
	if _, err := os.Stat(run.LogPath(dir)); err == nil {
		s.Log = run.LogPath(dir)
	}
	moved, err := run.MovedTo(dir)
	if err != nil {
		return err
	}
	s.MovedTo = moved
	info, state, err := found(ctx, dir)
	if err != nil {
		return err
	}
	var engines *engineStatus
	var silent error
	if info != nil {
		s.take(info)
		s.State = state
		if s.State != stateStarting && s.State != stateStopping {
			s.Engines, engines, silent = askUntilWritten(ctx, info)
		}
		if info.NoEngines {
			silent = nil // perhaps none runs elsewhere either
		}
	}
	if err := a.show(s, s.lines(engines)...); err != nil {
		return err
	}
	if silent != nil {
		a.warn("the engines did not say how far they are: %v", silent)
	}
	return s.problem(engines)
}

// found is the server on a data folder and its state; nil: none runs. One that was ready and is not seems to be ending, and is given a moment to say so, or to end.
func found(ctx context.Context, dir string) (info *run.Info, state string, err error) {
	if info, err = run.Find(dir); err != nil || info == nil {
		return nil, "", err
	}
	if state = readiness(ctx, info); state != stateStopping && (state != stateStarting || !info.Ready) {
		return info, state, nil
	}
	if info, err = run.FindAfter(ctx, dir, endPatience); err != nil || info == nil {
		return nil, "", err
	}
	return info, readiness(ctx, info), nil
}

// problem is why commands are not accepted, or not by every way; nil: they are.
func (s *serverStatus) problem(engines *engineStatus) error {
	switch {
	case s.State == stateStopped && s.MovedTo != "":
		return problem.New(problem.Unavailable, "no server runs on %s, which was given up: the site is in %s", s.DataDir, s.MovedTo).WithHint("look there: `eventful status --data-dir %s`", s.MovedTo)
	case s.State == stateStopped:
		return notRunning(s.DataDir)
	case s.State == stateStarting:
		return problem.New(problem.Unavailable, "the server on %s does not accept commands yet", s.DataDir).WithHint("`eventful logs -f` shows what it does")
	case s.State == stateStopping:
		return problem.New(problem.Unavailable, "the server on %s is stopping: it ends when what is under way has come to its end", s.DataDir).
			WithHint("`eventful logs -f` shows what it does; `eventful stop --force` waits no longer, and acknowledged events are safe either way")
	case s.State == stateRefusing:
		return refusing(engines)
	case s.State == stateLapsed:
		return problem.New(problem.Unavailable, "the server runs, and writes nothing: its writer cannot renew the leases under which it writes").
			WithHint("it goes on by itself when the NATS servers answer; `eventful doctor` examines them")
	}
	if err := engines.unwritten(); err != nil {
		return err
	}
	if s.State == stateNoInbox || engines != nil && engines.Inbox != "" {
		return undelivered(engines)
	}
	return nil
}

// undelivered is the problem of an inbox whose commands wait.
func undelivered(e *engineStatus) error {
	reason := "commands of the inbox are not delivered"
	if e != nil && e.Inbox != "" {
		reason = e.Inbox
	}
	return problem.New(problem.Unavailable, "%s", reason).
		WithHint("they wait on disk, and other commands are decided as ever; `eventful doctor` says what to do")
}

// unwritten is the problem of logs that take no commands, or will not when the next one meets what somebody else stored; nil: there are none.
func (e *engineStatus) unwritten() error {
	if e == nil {
		return nil
	}
	var damaged, foreign, others []string
	for _, l := range e.Logs {
		switch {
		case l.Foreign > 0:
			foreign = append(foreign, fmt.Sprintf("log %s: message %d at its end is not its writer's, and the next command meets it", l.Log, l.Foreign))
		case l.State == logStopped && l.Error != "":
			damaged = append(damaged, fmt.Sprintf("log %s takes no commands: %s", l.Log, l.Error))
		case l.State == logStopped, l.State == logUnwritten:
			others = append(others, fmt.Sprintf("log %s is written by no process at the moment", l.Log))
		}
	}
	switch {
	case len(damaged) > 0 || len(foreign) > 0:
		damaged = append(damaged, foreign...)
		return problem.New(problem.Damaged, "%s", strings.Join(append(damaged, others...), "; ")).
			WithHint("`eventful aggregate:verify --all` names what is wrong and where; the other logs go on")
	case len(others) > 0:
		return problem.New(problem.Unavailable, "%s", strings.Join(others, "; ")).
			WithHint("it should pass within seconds; else `eventful logs` and `eventful writer:list` show what the writers do")
	}
	return nil
}

// statusIsLocal says that another server is not asked, so that nobody takes the answer for that server's.
func (a *app) statusIsLocal() error {
	const hint = "`eventful doctor` examines the server of --server"
	switch {
	case a.settings.Server == "":
	case a.settings.FromFlags("server")["server"] != "":
		return usageError("leave --server out, and name the folder with --data-dir; "+hint,
			"status looks at the data folder on this machine and does not ask a --server")
	default:
		a.warn("this is about the data folder, not about %s; %s", a.settings.Server, hint)
	}
	return nil
}

func (s *serverStatus) take(info *run.Info) {
	s.State, s.Version, s.Site, s.PID = stateStarting, info.Version, info.Site, info.PID
	s.NATS, s.HTTP, s.NoEngines, s.Unsafe = info.NATS, info.HTTP, info.NoEngines, info.UnsafeNoSync
	if !info.Since.IsZero() {
		s.Since = &info.Since
	}
}

// lines are names and values of the table.
func (s *serverStatus) lines(e *engineStatus) []string {
	pairs := []string{"state", s.State, "data folder", s.DataDir}
	if s.State == stateStopped {
		if s.Site != "" {
			pairs = append(pairs, "site", s.Site)
		}
		if s.MovedTo != "" {
			pairs = append(pairs, "given up for", s.MovedTo)
		}
		if s.Log != "" {
			pairs = append(pairs, "log", s.Log)
		}
		return pairs
	}
	pairs = append(pairs, "version", s.Version, "site", s.Site, "process id", strconv.Itoa(s.PID))
	if s.Since != nil {
		pairs = append(pairs, "since", fmt.Sprintf("%s (%s)", s.Since.Format(time.RFC3339), time.Since(*s.Since).Round(time.Second)))
	}
	pairs = append(pairs, "NATS", s.NATS, "HTTP", s.HTTP, "log", s.Log)
	if s.NoEngines {
		pairs = append(pairs, "engines", "not in this process")
	}
	if s.Unsafe {
		pairs = append(pairs, "flush", "OFF: acknowledged events can be lost")
	}
	return append(pairs, e.lines()...)
}

func (e *engineStatus) lines() (pairs []string) {
	if e == nil {
		return nil
	}
	pairs = append(pairs, "events in memory", fmt.Sprintf("%d of at most %d", e.Held, e.Limit))
	if e.Inbox != "" {
		pairs = append(pairs, "inbox", e.Inbox)
	}
	if e.Refusing != "" {
		pairs = append(pairs, "writes", "refused: "+e.Refusing)
	}
	for _, d := range e.Disks {
		pairs = append(pairs, "disk of the "+d.Folder, d.String())
	}
	if e.Archive != "" {
		pairs = append(pairs, "archive", e.Archive)
	}
	for _, l := range e.Logs {
		text := fmt.Sprintf("%s, at sequence %s, index at %d, %d events behind", l.State, l.Position, l.Indexed, l.LagEvents)
		if l.LagSeconds > 0 {
			text += fmt.Sprintf(" (%.1f s)", l.LagSeconds)
		}
		if l.Archived > 0 {
			text += fmt.Sprintf(", archived up to %d", l.Archived)
		}
		if l.Writer != "" {
			text += ", written by " + l.Writer
		}
		if l.Foreign > 0 {
			text += fmt.Sprintf("; message %d at its end is not its writer's: `eventful aggregate:verify --all` says what it is, before the next command meets it", l.Foreign)
		}
		if l.Error != "" {
			text += ": " + l.Error
		}
		if l.Unsigned != "" {
			text += "; no checkpoints are signed: " + l.Unsigned
		}
		pairs = append(pairs, "log "+l.Log, text)
	}
	return pairs
}

// refusing is the problem of a server that answers reads alone.
func refusing(e *engineStatus) error {
	p := problem.New(problem.NoSpace, "the server answers reads, and refuses writes")
	if e != nil && e.Refusing != "" {
		p.Detail += ": " + e.Refusing
	}
	return p.WithHint("`eventful doctor` says what to do; writing goes on by itself")
}

// readiness asks /readyz for the state of a server that runs.
func readiness(ctx context.Context, info *run.Info) string {
	switch {
	case info.Stopping:
		return stateStopping
	case !info.Ready:
		return stateStarting
	}
	ctx, cancel := context.WithTimeout(ctx, statusPatience)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, info.HTTP+"/readyz", nil)
	if err != nil {
		return stateStarting
	}
	answer, err := (&http.Client{Transport: &http.Transport{DisableKeepAlives: true, TLSClientConfig: info.Pinned()}}).Do(request)
	if err != nil {
		return stateStarting
	}
	text, err := io.ReadAll(io.LimitReader(answer.Body, 1<<12))
	switch err = errors.Join(err, answer.Body.Close()); {
	case err == nil && (answer.StatusCode == http.StatusOK || strings.HasPrefix(string(text), run.Stopped)):
		return stateRunning // why a log is stopped is told log by log
	case err == nil && strings.HasPrefix(string(text), run.Refusing):
		return stateRefusing
	case err == nil && strings.HasPrefix(string(text), run.Lapsed):
		return stateLapsed
	case err == nil && strings.HasPrefix(string(text), run.Undelivered):
		return stateNoInbox
	}
	return stateStarting
}

// askUntilWritten asks again for a while as long as a log is written by no process.
func askUntilWritten(ctx context.Context, info *run.Info) (raw json.RawMessage, e *engineStatus, err error) {
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for begin := time.Now(); ; {
		raw, e, err = askEngines(ctx, info)
		passing := err == nil && slices.ContainsFunc(e.Logs, func(l logState) bool { return l.State == logUnwritten })
		if !passing || time.Since(begin) > takenPatience {
			return raw, e, err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return raw, e, err
		}
	}
}

// askEngines asks adm.server.status with the local credential.
func askEngines(ctx context.Context, info *run.Info) (json.RawMessage, *engineStatus, error) {
	ctx, cancel := context.WithTimeout(ctx, statusPatience)
	defer cancel()
	c, err := client.Connect(ctx, client.Options{URL: info.NATS, TLS: info.Pinned(), Token: client.Static(info.Credential), Name: "eventful-status"})
	if err != nil {
		return nil, nil, err
	}
	defer c.Close()
	var raw json.RawMessage
	if err := c.Status(ctx, &raw); err != nil {
		return nil, nil, err
	}
	e := &engineStatus{}
	if err := json.Unmarshal(raw, e); err != nil {
		return nil, nil, fmt.Errorf("read the answer: %w", err)
	}
	return raw, e, nil
}
