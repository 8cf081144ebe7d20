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
	var sent []client.Transaction
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
	for i, cmd := range sent {
		first, known := acked[cmd.CommandID]
		if known && i%7 != 0 {
			continue
		}
		again, err := send(context.Background(), c, cmd)
		if err != nil {
			t.Fatal(err)
		}
		if known && (!again.Repeated || !cmp.Equal(again.Commits, first.Commits)) {
			t.Errorf("command %s: got %+v, want the first answer again: %+v", cmd.CommandID, again, first)
		}
		acked[cmd.CommandID] = again
	}
	if len(acked) != len(sent) {
		t.Errorf("got %d commands acknowledged, want all %d", len(acked), len(sent))
	}
	s.checkWritten(sent, acked)
}

// load is many writers at once: each on an aggregate of its own, every fourth command on one that they share, and every fifth a transaction over three aggregates.
type load struct {
	cancel context.CancelFunc
	wait   sync.WaitGroup

	mu    sync.Mutex // guards what follows until stop
	sent  []client.Transaction
	acked map[string]*client.Answer
}

func (s *site) write(round int) *load {
	s.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	l := &load{cancel: cancel, acked: map[string]*client.Answer{}}
	s.t.Cleanup(cancel)
	for w := range loaders {
		c := s.client()
		l.wait.Go(func() {
			again := time.NewTicker(10 * time.Millisecond)
			defer again.Stop()
			for i := 0; ctx.Err() == nil; i++ {
				cmd := note(round, w, i)
				l.mu.Lock()
				l.sent = append(l.sent, cmd)
				l.mu.Unlock()
				answer, err := send(ctx, c, cmd)
				if err == nil {
					l.mu.Lock()
					l.acked[cmd.CommandID] = answer
					l.mu.Unlock()
					continue
				}
				select { // who is refused comes again, and leaves the processor to the server
				case <-again.C:
				case <-ctx.Done():
				}
			}
		})
	}
	return l
}

// loaders is how many writers a load has.
const loaders = 16

// note is command i of a writer of a load: one event, or one for each of three aggregates.
func note(round, writer, i int) client.Transaction {
	own := fmt.Sprint("w", writer)
	wards := []string{own}
	switch {
	case i%5 == 4:
		wards = []string{own, "shared", fmt.Sprint("w", (writer+1)%loaders)}
	case i%4 == 3:
		wards = []string{"shared"}
	}
	t := client.Transaction{Context: client.Context{CommandID: fmt.Sprintf("%d-%d-%d", round, writer, i)}}
	for _, id := range wards {
		t.Commits = append(t.Commits, client.Commit{Aggregate: event.AggregateID{Type: "ward", ID: id}, Events: []client.Event{{Type: "note", Fields: client.Fields{"text": t.CommandID}}}})
	}
	return t
}

// send sends what has one event as a command of its own.
func send(ctx context.Context, c *client.Client, t client.Transaction) (*client.Answer, error) {
	if len(t.Commits) > 1 {
		return c.Transact(ctx, t)
	}
	only := t.Commits[0]
	return c.Command(ctx, client.Command{Aggregate: only.Aggregate, Event: only.Events[0].Type, Fields: only.Events[0].Fields, Context: t.Context})
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

// part is what one command wrote to one ward.
type part struct{ command, ward string }

// checkWritten holds the log to: each acknowledged command once and as it was answered, none twice, none that was not sent, of a transaction all or nothing.
func (s *site) checkWritten(sent []client.Transaction, acked map[string]*client.Answer) {
	s.t.Helper()
	stored := s.parts(sent)
	if some := torn(sent, stored); len(some) > 0 { // stored between the reads of two wards, as a last one under way may be: by now all of it can be read
		stored = s.parts(sent)
		for _, t := range torn(some, stored) {
			s.t.Errorf("transaction %s: some of its events are in the log, want all or none", t.CommandID)
		}
	}
	for id, answer := range acked {
		for _, got := range answer.Commits {
			if e, ok := stored[part{id, got.ID}]; !ok || e.Version != got.Version || e.Hash != got.Hashes[0] || e.Position != got.Position {
				s.t.Errorf("command %s: got %+v in the log, want it as it was acknowledged: %+v", id, e, got)
			}
		}
	}
}

// parts reads every event of every ward; each must have been sent, and be there once.
func (s *site) parts(sent []client.Transaction) map[part]client.Recorded {
	s.t.Helper()
	ctx := context.Background()
	c := s.client()
	known := map[part]bool{}
	for _, t := range sent {
		for _, commit := range t.Commits {
			known[part{t.CommandID, commit.Aggregate.ID}] = true
		}
	}
	stored := map[part]client.Recorded{}
	for a, err := range c.List(ctx, "ward", client.Latest()) {
		if err != nil {
			s.t.Fatal(err)
		}
		for e, err := range c.History(ctx, event.AggregateID{Type: "ward", ID: a.ID}, client.PageSize(1000)) {
			if err != nil {
				s.t.Fatal(err)
			}
			p := part{e.Command, a.ID}
			if _, twice := stored[p]; twice || !known[p] || e.Fields["text"] == nil || *e.Fields["text"] != e.Command {
				s.t.Errorf("ward/%s version %d: command %q is there twice, or was never sent", a.ID, e.Version, e.Command)
			}
			stored[p] = e
		}
	}
	return stored
}

// torn are the transactions of which some events are stored, and some are not.
func torn(sent []client.Transaction, stored map[part]client.Recorded) (some []client.Transaction) {
	for _, t := range sent {
		there := 0
		for _, commit := range t.Commits {
			if _, ok := stored[part{t.CommandID, commit.Aggregate.ID}]; ok {
				there++
			}
		}
		if there > 0 && there < len(t.Commits) {
			some = append(some, t)
		}
	}
	return some
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
