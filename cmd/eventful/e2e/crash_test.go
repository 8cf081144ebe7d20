package e2e_test

import (
	"bytes"
	"context"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/eventfuldb/eventful/internal/disktest"
	"github.com/eventfuldb/eventful/pkg/client"
	"github.com/eventfuldb/eventful/pkg/event"
	"github.com/eventfuldb/eventful/pkg/token"
)

// kills is how often the server is killed in one run of an import.
const kills = 5

// written is what an event must look like when it is read back.
type written struct{ Event, Actor, Mark string }

// imported is what data:import prints.
type imported struct {
	Rows, Stored, Skipped, Repeated, Rejected, Left uint64
}

// TestKillDuringImport kills the server while a generated file is imported.
func TestKillDuringImport(t *testing.T) {
	t.Parallel()
	const rows, aggregates = 5000, 123
	s := newSite(t)
	want := map[string][]written{}
	var text bytes.Buffer
	text.WriteString("who,what,mark\n")
	for i := range rows {
		id, mark := fmt.Sprintf("P %d/*", (i*i+i/7)%aggregates), strconv.Itoa(i)
		fmt.Fprintf(&text, "%s,note,%s\n", id, mark)
		want[id] = append(want[id], written{"note", "user:ada", mark})
	}
	s.put("rows.csv", text.String())
	s.put("mapping.yaml", "id: who\nevent: {column: what}\nfields: {mark: text}\n")
	s.importUnderKills(rows, "data:import", "rows.csv", "--aggregate=patient", "--mapping=mapping.yaml")
	s.checkImported("text", want)
}

// TestKillDuringSepsis does so with the log of examples/sepsis and a token for each group.
func TestKillDuringSepsis(t *testing.T) {
	t.Parallel()
	example, err := filepath.Abs("../../../examples/sepsis")
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(example, "sepsis.csv")
	if _, err := os.Stat(file); err != nil {
		t.Skipf("the example is not here: %v", err)
	}
	s := configuredSite(t)
	s.open(filepath.Join(example, "schema.yaml"))
	want, groups, rows := readSepsis(t, file)
	tokens := map[string]string{}
	for group, size := range groups {
		tokens[group] = s.mint(token.Claims{IdentifierType: "org-group", IdentifierID: group, Aggregates: []string{"patient"}, Actions: []token.Action{token.ActionWrite}, Limit: size})
	}
	list, err := json.Marshal(tokens)
	if err != nil {
		t.Fatal(err)
	}
	s.put("tokens.json", string(list))
	s.importUnderKills(rows, "data:import", file, "--aggregate=patient", "--mapping="+filepath.Join(example, "mapping.yaml"), "--tokens=tokens.json", "--rejects=rejects")
	s.checkImported("", want)
}

// readSepsis gives each patient's rows with their time as the mark, the number of rows of each group, and that of all.
func readSepsis(t *testing.T, path string) (want map[string][]written, groups map[string]uint64, rows uint64) {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	all, err := csv.NewReader(f).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	column := map[string]int{}
	for i, name := range all[0] {
		column[name] = i
	}
	want, groups = map[string][]written{}, map[string]uint64{}
	for _, row := range all[1:] {
		at, err := time.Parse("2006-01-02 15:04:05-07:00", row[column["time:timestamp"]])
		if err != nil {
			t.Fatal(err)
		}
		group, id := row[column["org:group"]], row[column["case:concept:name"]]
		kind := strings.ToLower(strings.ReplaceAll(row[column["concept:name"]], " ", "-"))
		want[id] = append(want[id], written{kind, "org-group:" + group, at.UTC().Format(time.RFC3339)})
		groups[group]++
	}
	return want, groups, uint64(len(all) - 1)
}

func (s *site) put(name, content string) {
	s.t.Helper()
	if err := os.WriteFile(filepath.Join(s.root, name), []byte(content), 0o600); err != nil {
		s.t.Fatal(err)
	}
}

// importUnderKills runs an import, kills the server at every sixth of its rows, starts it again, and runs the import again where it gave up. The
// import itself is killed once. In the end every row is settled, and one more import stores nothing.
func (s *site) importUnderKills(rows uint64, args ...string) {
	s.t.Helper()
	importing := s.background(args...)
	killed := 0
	for killed < kills {
		until(s.t, "some rows are stored", func() bool {
			if importing.ended() {
				importing = s.background(args...)
			}
			return s.metric("eventful_writer_commits_total") >= float64(rows/(kills+1)/2)
		})
		was := s.kill()
		killed++
		if killed == 2 {
			importing.kill()
		}
		s.again(was)
	}
	tries := 0
	until(s.t, "the import is through", func() bool {
		if !importing.ended() {
			return false
		}
		if importing.failed() {
			if tries++; tries > 3 {
				s.t.Fatalf("the import fails with the server up:\n%s", importing.output.String())
			}
			importing = s.background(args...)
			return false
		}
		return true
	})
	var last imported
	s.ask(&last, args...)
	if diff := cmp.Diff(imported{Rows: rows, Skipped: rows}, last); diff != "" {
		s.t.Errorf("one more import (-want +got):\n%s", diff)
	}
}

// checkImported holds every event of every patient to the file, in its order. The mark is the value of a field, or the time of occurrence.
func (s *site) checkImported(field string, want map[string][]written) {
	s.t.Helper()
	ctx := context.Background()
	c := s.client()
	got := map[string][]written{}
	for a, err := range c.List(ctx, "patient", client.Latest(), client.PageSize(1000)) {
		if err != nil {
			s.t.Fatal(err)
		}
		for e, err := range c.History(ctx, event.AggregateID{Type: "patient", ID: a.ID}, client.PageSize(1000)) {
			if err != nil {
				s.t.Fatal(err)
			}
			w := written{Event: e.Event, Actor: e.Actor}
			if field != "" && e.Fields[field] != nil {
				w.Mark = *e.Fields[field]
			} else if e.OccurredAt != nil {
				w.Mark = e.OccurredAt.UTC().Format(time.RFC3339)
			}
			got[a.ID] = append(got[a.ID], w)
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		s.t.Errorf("imported events (-want +got):\n%.3000s", diff)
	}
	var events uint64
	report, err := c.VerifyType(ctx, "patient", nil)
	if err != nil {
		s.t.Fatal(err)
	}
	for _, list := range want {
		events += uint64(len(list))
	}
	if report.Events != events || report.Aggregates != uint64(len(want)) || len(report.Failed) > 0 {
		s.t.Errorf("got %+v, want %d events of %d patients verified", report, events, len(want))
	}
}

// job is a command that runs beside the test.
type job struct {
	cmd    *exec.Cmd
	output bytes.Buffer
	done   chan struct{} // closed when it has ended
	err    error         // of Wait; read behind done
}

func (s *site) background(args ...string) *job {
	s.t.Helper()
	j := &job{cmd: s.command(args...), done: make(chan struct{})}
	j.cmd.Stdout, j.cmd.Stderr = &j.output, &j.output
	if err := j.cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	go func() { j.err = j.cmd.Wait(); close(j.done) }()
	s.t.Cleanup(j.kill)
	return j
}

func (j *job) ended() bool {
	select {
	case <-j.done:
		return true
	default:
		return false
	}
}

func (j *job) failed() bool { return j.err != nil }

// kill ends the job, if it has not ended already.
func (j *job) kill() {
	if !j.ended() {
		_ = j.cmd.Process.Kill() // it may have ended this instant
		<-j.done
	}
}

// TestKillDuringWrites: what was acknowledged before a kill is there exactly once behind it, and the rest can be sent again with the same command id.
func TestKillDuringWrites(t *testing.T) {
	t.Parallel()
	rounds, most := 4, 1000
	if os.Getenv("EVENTFUL_TORTURE") == "1" {
		rounds, most = 20, 3000
	}
	random := rand.New(rand.NewPCG(disktest.Seed(t), 0))
	s := newSite(t)
	acked := map[string]*client.Answer{}
	var sent []client.Command
	for round := range rounds {
		load := s.write(round)
		enough := 1 + random.IntN(most)
		until(t, "commands are stored", func() bool { return load.answered() >= enough })
		was := s.kill()
		load.stop()
		maps.Copy(acked, load.acked)
		sent = append(sent, load.sent...)
		s.again(was)
		s.checkWritten(sent, acked)
		s.must("aggregate:verify", "--all")
	}
	c := s.client()
	for _, cmd := range sent {
		first, known := acked[cmd.CommandID]
		if known && len(acked)%7 != 0 {
			continue
		}
		again, err := c.Command(context.Background(), cmd)
		if err != nil {
			t.Fatal(err)
		}
		if known && (!again.Repeated || again.Commits[0].Hashes[0] != first.Commits[0].Hashes[0]) {
			t.Errorf("command %s: got %+v, want the first answer again: %+v", cmd.CommandID, again, first)
		}
		acked[cmd.CommandID] = again
	}
	if len(acked) != len(sent) {
		t.Errorf("got %d commands acknowledged, want all %d", len(acked), len(sent))
	}
	s.checkWritten(sent, acked)
}

// load is many writers at once: each on an aggregate of its own, and every fourth command on one that they share.
type load struct {
	cancel context.CancelFunc
	wait   sync.WaitGroup

	mu    sync.Mutex // guards what follows until stop
	sent  []client.Command
	acked map[string]*client.Answer
}

func (s *site) write(round int) *load {
	s.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	l := &load{cancel: cancel, acked: map[string]*client.Answer{}}
	s.t.Cleanup(cancel)
	for w := range 16 {
		c := s.client()
		l.wait.Go(func() {
			for i := 0; ctx.Err() == nil; i++ {
				cmd := client.Command{Aggregate: event.AggregateID{Type: "ward", ID: fmt.Sprint("w", w)}, Event: "note",
					Context: client.Context{CommandID: fmt.Sprintf("%d-%d-%d", round, w, i)}}
				if i%4 == 3 {
					cmd.Aggregate.ID = "shared"
				}
				cmd.Fields = client.Fields{"text": cmd.CommandID}
				l.mu.Lock()
				l.sent = append(l.sent, cmd)
				l.mu.Unlock()
				answer, err := c.Command(ctx, cmd)
				if err == nil {
					l.mu.Lock()
					l.acked[cmd.CommandID] = answer
					l.mu.Unlock()
				}
			}
		})
	}
	return l
}

func (l *load) answered() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.acked)
}

func (l *load) stop() {
	l.cancel()
	l.wait.Wait()
}

// checkWritten holds the log to: each acknowledged command once and as it was answered, none twice, none that was not sent, each writer's in its order.
func (s *site) checkWritten(sent []client.Command, acked map[string]*client.Answer) {
	s.t.Helper()
	ctx := context.Background()
	c := s.client()
	known := map[string]bool{}
	for _, cmd := range sent {
		known[cmd.CommandID] = true
	}
	stored := map[string]client.Recorded{}
	for a, err := range c.List(ctx, "ward", client.Latest()) {
		if err != nil {
			s.t.Fatal(err)
		}
		for e, err := range c.History(ctx, event.AggregateID{Type: "ward", ID: a.ID}, client.PageSize(1000)) {
			if err != nil {
				s.t.Fatal(err)
			}
			if _, twice := stored[e.Command]; twice || !known[e.Command] || e.Fields["text"] == nil || *e.Fields["text"] != e.Command {
				s.t.Errorf("ward/%s version %d: command %q is there twice, or was never sent", a.ID, e.Version, e.Command)
			}
			stored[e.Command] = e
		}
	}
	for id, answer := range acked {
		e, ok := stored[id]
		if got := answer.Commits[0]; !ok || e.Version != got.Version || e.Hash != got.Hashes[0] || e.Position != got.Position {
			s.t.Errorf("command %s: got %+v in the log, want it as it was acknowledged: %+v", id, e, got)
		}
	}
}

// TestRebuild: the writer's state and the index are deleted and spoilt; the answers stay the same.
func TestRebuild(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	load := s.write(0)
	until(t, "some commands are stored", func() bool { return load.answered() >= 300 })
	load.stop()
	s.seed()
	want := s.answers()
	state, index := filepath.Join(s.dir, "state"), filepath.Join(s.dir, "index")
	steps := []struct {
		name  string
		spoil func(t *testing.T)
	}{
		{"state deleted", func(t *testing.T) { remove(t, state) }},
		{"index deleted", func(t *testing.T) { remove(t, index) }},
		{"a byte of each file of the state", func(t *testing.T) { flipAll(t, state) }},
		{"a byte of each file of the index", func(t *testing.T) { flipAll(t, index) }},
		{"files of both cut", func(t *testing.T) { cutAll(t, state); cutAll(t, index) }},
	}
	for i, step := range steps {
		if i%2 == 0 {
			s.stop()
		} else {
			s.kill()
		}
		step.spoil(t)
		s.start()
		if diff := cmp.Diff(want, s.answers()); diff != "" {
			t.Errorf("%s: answers (-want +got):\n%.3000s", step.name, diff)
		}
	}
}

// seed writes what answers asks about, besides a load.
func (s *site) seed() {
	s.t.Helper()
	s.must("event:add", "patient/crp", "--id=A", "--crp=1", "--command-id=first")
	s.must("event:add", "patient/died", "--id=A")
	s.must("event:add", "patient/crp", "--id=B", "--crp=2")
}

// answers is what the site says about everything that was written: reads, and decisions of the writer. Behind seed it stores nothing.
func (s *site) answers() map[string]string {
	s.t.Helper()
	got := map[string]string{}
	if _, err := s.client().ListPage(context.Background(), "", client.Latest()); err != nil { // the reads behind it see all that was written
		s.t.Fatal(err)
	}
	for _, args := range [][]string{
		{"aggregate:list", "--all"}, {"aggregate:get", "patient/A"}, {"aggregate:get", "patient/B"}, {"aggregate:get", "ward/shared", "3"}, {"aggregate:history", "ward/w1", "--all"},
		{"aggregate:export", "patient/A"}, {"aggregate:export", "ward/shared"}, {"schema:list"},
		{"event:add", "patient/crp", "--id=A", "--crp=1", "--command-id=first"}, {"event:add", "patient/crp", "--id=A", "--crp=2", "--command-id=first"},
		{"event:add", "patient/crp", "--id=A", "--crp=1", "--expected-version=1"}, {"event:add", "patient/crp", "--id=A", "--crp=1", "--expected-version=exists"},
		{"event:add", "patient/crp", "--id=B", "--crp=1", "--expected-version=none"}, {"event:add", "patient/crp", "--id=B", "--crp=1", "--dry-run", "--command-id=dry"},
	} {
		o := s.run(append(args, "-o", "json")...)
		got[strings.Join(args, " ")] = fmt.Sprint(o.status, o.stdout, o.stderr)
	}
	return got
}

func remove(t *testing.T, dir string) {
	t.Helper()
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
}

func flipAll(t *testing.T, dir string) {
	t.Helper()
	spoilAll(t, dir, func(data []byte) []byte { data[len(data)/2] ^= 1; return data })
}

func cutAll(t *testing.T, dir string) {
	t.Helper()
	spoilAll(t, dir, func(data []byte) []byte { return data[:len(data)/2] })
}

// spoilAll changes every file below a folder that is not empty; sparse ones are changed where their content ends.
func spoilAll(t *testing.T, dir string, spoil func([]byte) []byte) {
	t.Helper()
	changed := 0
	for _, path := range files(t, dir) {
		data, err := os.ReadFile(path)
		if err != nil {
			if info, statErr := os.Stat(path); statErr == nil && info.IsDir() {
				continue
			}
			t.Fatal(err)
		}
		content := bytes.TrimRight(data, "\x00")
		if len(content) == 0 {
			continue
		}
		tail := data[len(content):]
		if err := os.WriteFile(path, append(spoil(content), tail...), 0o600); err != nil && !errors.Is(err, os.ErrNotExist) {
			t.Fatal(err)
		}
		changed++
	}
	if changed == 0 {
		t.Errorf("nothing to spoil in %s", dir)
	}
}
