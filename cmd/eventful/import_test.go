package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/eventfuldb/eventful/cmd/internal/run"
)

// TestImportSurvivesKills kills the server five times during an import and starts it again. Then every row is stored exactly once, and every proof holds.
func TestImportSurvivesKills(t *testing.T) {
	const rows, patients, kills = 20000, 400, 5
	u := newImportUser(t)
	var text strings.Builder
	text.WriteString("id,event,crp\n")
	for i := range rows {
		fmt.Fprintf(&text, "P%d,crp,%d.50\n", i%patients, i)
	}
	u.write("rows.csv", text.String())
	importing := u.startImport()
	for range kills {
		if !importing.grows() { // it gave up meanwhile
			importing = u.startImport()
			importing.grows()
		}
		u.kill()
		u.must("start")
	}
	<-importing.done
	u.must("data:import", "rows.csv", "--aggregate=patient", "--mapping=mapping.yaml")
	var again struct{ Skipped, Stored, Repeated uint64 }
	u.ask(&again, "data:import", "rows.csv", "--aggregate=patient", "--mapping=mapping.yaml")
	if again.Skipped != rows || again.Stored+again.Repeated != 0 {
		t.Errorf("another run: got %+v, want %d rows skipped and none stored", again, rows)
	}
	var list []struct{ Version uint64 }
	u.ask(&list, "aggregate:list", "patient", "--all")
	stored := uint64(0)
	for _, a := range list {
		stored += a.Version
	}
	if stored != rows || len(list) != patients {
		t.Errorf("got %d events of %d patients, want %d of %d", stored, len(list), rows, patients)
	}
}

// importUser works with the real binary in a folder of its own.
type importUser struct {
	t   *testing.T
	dir string
	env []string
}

// newImportUser configures and starts a server, and holds a token. At the end everything is verified and the server stopped.
func newImportUser(t *testing.T) *importUser {
	t.Helper()
	dir := t.TempDir()
	u := &importUser{t: t, dir: dir, env: append(os.Environ(), "HOME="+dir, "XDG_CONFIG_HOME="+filepath.Join(dir, "home"),
		"EVENTFUL_MASTER_KEY=master-key-of-this-test", "EVENTFUL_DEK=data-key-of-this-test")}
	u.write("mapping.yaml", "id: id\nevent: { column: event }\nfields: { crp: crp }\n")
	u.write("schema.yaml", "aggregate: patient\nfields: { crp: { type: decimal } }\nevents: { crp: { fields: [crp], required: [crp] } }\n")
	t.Cleanup(func() {
		if err := run.End(context.Background(), filepath.Join(dir, ".eventful"), 10*time.Second, true); err != nil {
			t.Log("stop the server:", err)
		}
	})
	u.must("config", "--site=ward", "--port="+freeTCPPort(t), "--nats-port="+freeTCPPort(t))
	u.must("start")
	var key struct {
		AuthKey string `json:"auth-key"`
	}
	u.ask(&key, "token:generate", "--auth-key")
	u.env = append(u.env, "EVENTFUL_AUTH_KEY="+key.AuthKey)
	u.must("schema:apply", "schema.yaml")
	u.must("schema:migrate", "-f")
	var issued struct{ Token string }
	u.ask(&issued, "token:generate", "--expiration=3600", "--limit=1000000", "--identifierType=user", "--identifierId=anna", "--actions=write,read,verify")
	u.env = append(u.env, "EVENTFUL_TOKEN="+issued.Token)
	t.Cleanup(func() { u.must("aggregate:verify", "--all") })
	return u
}

func freeTCPPort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return strconv.Itoa(l.Addr().(*net.TCPAddr).Port)
}

func (u *importUser) write(name, content string) {
	u.t.Helper()
	if err := os.WriteFile(filepath.Join(u.dir, name), []byte(content), 0o600); err != nil {
		u.t.Fatal(err)
	}
}

func (u *importUser) command(args ...string) *exec.Cmd {
	cmd := exec.Command("eventful", args...)
	cmd.Dir, cmd.Env = u.dir, u.env
	return cmd
}

// must runs a command that must succeed and gives its standard output.
func (u *importUser) must(args ...string) []byte {
	u.t.Helper()
	var out, errOut bytes.Buffer
	cmd := u.command(args...)
	cmd.Stdout, cmd.Stderr = &out, &errOut
	if err := cmd.Run(); err != nil {
		u.t.Fatalf("eventful %s: %v\n%s", strings.Join(args, " "), err, errOut.Bytes())
	}
	return out.Bytes()
}

func (u *importUser) ask(into any, args ...string) {
	u.t.Helper()
	if err := json.Unmarshal(u.must(append(args, "-o", "json")...), into); err != nil {
		u.t.Fatalf("eventful %s: %v", strings.Join(args, " "), err)
	}
}

// importRun is an import that runs beside the test.
type importRun struct {
	*importUser
	done chan struct{} // closed when it has ended
}

func (u *importUser) startImport() *importRun {
	u.t.Helper()
	var errOut bytes.Buffer
	cmd, r := u.command("data:import", "rows.csv", "--aggregate=patient", "--mapping=mapping.yaml"), &importRun{u, make(chan struct{})}
	cmd.Stderr = &errOut
	if err := cmd.Start(); err != nil {
		u.t.Fatal(err)
	}
	go func() {
		defer close(r.done)
		_ = cmd.Wait()
		if got := cmd.ProcessState.ExitCode(); got != 0 && got != 6 {
			u.t.Errorf("the import ended with status %d, want 0, or 6 when the server is away\n%s", got, errOut.Bytes())
		}
	}()
	u.t.Cleanup(func() { <-r.done })
	return r
}

// grows waits until the stored logs are larger by some hundred rows; false: the import has ended.
func (r *importRun) grows() bool {
	r.t.Helper()
	began, tick := r.stored(), time.NewTicker(10*time.Millisecond)
	defer tick.Stop()
	for deadline := time.After(20 * time.Second); r.stored() < began+200<<10; {
		select {
		case <-r.done:
			return false
		case <-deadline:
			r.t.Fatal("the import does not go on")
		case <-tick.C:
		}
	}
	return true
}

func (u *importUser) stored() (bytes int64) {
	_ = filepath.WalkDir(filepath.Join(u.dir, ".eventful", "jetstream"), func(_ string, entry fs.DirEntry, err error) error {
		if err == nil {
			if info, gone := entry.Info(); gone == nil && info.Mode().IsRegular() {
				bytes += info.Size()
			}
		}
		return nil // files come and go meanwhile
	})
	return bytes
}

// kill ends the server as a power cut would, and waits until the folder is free.
func (u *importUser) kill() {
	u.t.Helper()
	folder := filepath.Join(u.dir, ".eventful")
	info, err := run.Find(folder)
	if err != nil || info == nil || info.PID <= 1 {
		u.t.Fatalf("find the server: %+v, %v", info, err)
	}
	server, err := os.FindProcess(info.PID)
	if err == nil {
		err = server.Kill()
	}
	if err != nil && !errors.Is(err, os.ErrProcessDone) {
		u.t.Fatal(err)
	}
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(10 * time.Second); ; <-tick.C {
		if info, err := run.Find(folder); err == nil && info == nil {
			return
		}
		if time.Now().After(deadline) {
			u.t.Fatal("the data folder is still locked")
		}
	}
}
