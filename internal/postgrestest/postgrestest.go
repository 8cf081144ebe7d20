// Package postgrestest starts a PostgreSQL of the test's own: the server programs that `make postgres` sees to, a new cluster in a folder, TLS on, on loopback.
package postgrestest

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/eventfuldb/eventful/internal/natstest"
)

// patience is how long a server may take to start or end.
const patience = time.Minute

// User owns the cluster, and Password is what it asks for.
const User = "test"

// Server is a running PostgreSQL. Run, Stop and Kill are not for several goroutines at a time.
type Server struct {
	Port     int
	Password string
	CA       string // the certificate that it shows, PEM

	dir, bin string
	input    io.WriteCloser // the server ends when it is closed, so also when this process does
	ended    chan struct{}
}

// Start starts a server that ends with the test. Without the programs the test is skipped, or fails if REQUIRE_POSTGRES=1.
func Start(t testing.TB) *Server {
	t.Helper()
	if err := Available(); err != nil {
		if os.Getenv("REQUIRE_POSTGRES") == "1" {
			t.Fatalf("REQUIRE_POSTGRES=1, and %v", err)
		}
		t.Skipf("PostgreSQL is left out: %v", err)
	}
	s, err := Launch()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Remove(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// Available says why no server can be started here, or nil.
func Available() error {
	_, err := programs()
	return err
}

// Launch starts a server that Remove ends.
func Launch() (*Server, error) {
	bin, err := programs()
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "postgrestest")
	if err != nil {
		return nil, err
	}
	s := &Server{dir: dir, bin: bin, Password: rand.Text()}
	if err := s.make(); err != nil {
		return nil, errors.Join(err, s.Remove())
	}
	if err := s.Run(); err != nil {
		return nil, errors.Join(err, s.Remove())
	}
	return s, nil
}

// Remove ends the server and removes what it kept.
func (s *Server) Remove() error {
	s.Stop()
	return os.RemoveAll(s.dir)
}

// programs gives the folder of initdb and postgres: Debian keeps them out of PATH.
func programs() (string, error) {
	if path, err := exec.LookPath("initdb"); err == nil {
		if path, err = filepath.EvalSymlinks(path); err == nil {
			return filepath.Dir(path), nil
		}
	}
	found, err := filepath.Glob("/usr/lib/postgresql/*/bin/initdb")
	if err != nil || len(found) == 0 {
		return "", errors.New("there is no initdb in PATH nor below /usr/lib/postgresql: `make postgres` installs it where it may")
	}
	slices.SortFunc(found, func(a, b string) int { return len(a) - len(b) + strings.Compare(a, b) })
	return filepath.Dir(found[len(found)-1]), nil
}

// make makes the cluster. Every folder above it has to be passable for the user that the server runs as.
func (s *Server) make() error {
	shown := filepath.Join(s.dir, "shown")
	certificate, key := shown+".pem", shown+".key"
	if err := natstest.Certificate(shown, time.Now().AddDate(0, 6, 0)); err != nil {
		return err
	}
	ca, err := os.ReadFile(shown + "-ca.pem")
	if err != nil {
		return err
	}
	s.CA = string(ca)
	password := filepath.Join(s.dir, "password")
	if err := os.WriteFile(password, []byte(s.Password), 0o600); err != nil {
		return err
	}
	for _, path := range []string{s.dir, password, certificate, key} {
		if err := handOver(path); err != nil {
			return err
		}
	}
	out, err := s.command("initdb", "-D", s.Data(), "-U", User, "--pwfile="+password, "--auth=scram-sha-256", "--no-sync", "--encoding=UTF8", "--locale=C").CombinedOutput()
	if err != nil {
		return fmt.Errorf("initdb: %w\n%s", err, out)
	}
	settings := "ssl=on\nssl_cert_file='" + certificate + "'\nssl_key_file='" + key + "'\nlisten_addresses='127.0.0.1'\nunix_socket_directories=''\nmax_connections=100\n" +
		"fsync=off\nfull_page_writes=off\n" // a killed server keeps what it committed; only power cuts would take it
	file, err := os.OpenFile(filepath.Join(s.Data(), "postgresql.auto.conf"), os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = file.WriteString(settings)
	return errors.Join(err, file.Close())
}

// Data is the folder in which the server keeps everything.
func (s *Server) Data() string { return filepath.Join(s.dir, "data") }

func (s *Server) command(name string, args ...string) *exec.Cmd {
	cmd := exec.Command(filepath.Join(s.bin, name), args...)
	cmd.Dir, cmd.Env = s.dir, []string{"LC_ALL=C", "PATH=" + s.bin + ":/usr/bin:/bin"}
	stepDown(cmd)
	return cmd
}

// watched runs a server until its own standard input ends, and ends it then. Its only children are the server and who waits for that end.
const watched = `exec 3<&0
"$@" </dev/null 3<&- & server=$!
{ read -r line <&3; kill -INT $server; } 2>/dev/null & watcher=$!
wait $server; kill $watcher 2>/dev/null`

// Run starts the server on the cluster, again on the port it had.
func (s *Server) Run() error {
	for end := time.Now().Add(patience); ; {
		said, err := s.try()
		if err == nil {
			return nil
		}
		taken := strings.Contains(said, "Address already in use")
		if taken {
			s.Port = 0
		}
		// A server that was killed leaves processes that end soon.
		if time.Now().After(end) || !taken && !strings.Contains(said, "is still in use") && !strings.Contains(said, "still running") {
			return fmt.Errorf("%w\n%s", err, said)
		}
	}
}

// try starts the server once, and gives what it said if it does not answer.
func (s *Server) try() (string, error) {
	if s.Port == 0 {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return "", err
		}
		s.Port = l.Addr().(*net.TCPAddr).Port
		if err := l.Close(); err != nil {
			return "", err
		}
	}
	said := &bytes.Buffer{}
	process := exec.Command("/bin/sh", "-c", watched, "sh", filepath.Join(s.bin, "postgres"), "-D", s.Data(), "-p", strconv.Itoa(s.Port))
	process.Dir, process.Env, process.Stderr, process.WaitDelay = s.dir, []string{"LC_ALL=C"}, said, 5*time.Second
	stepDown(process)
	input, err := process.StdinPipe()
	if err != nil {
		return "", err
	}
	if err := process.Start(); err != nil {
		return "", fmt.Errorf("start postgres: %w", err)
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = process.Wait() // its status is that of a server which may be killed
	}()
	s.input, s.ended = input, ended
	if err := s.await(); err != nil {
		s.Stop()
		return said.String(), err
	}
	return "", nil
}

// await returns when the server answers.
func (s *Server) await() error {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		c, err := pgx.Connect(ctx, s.Address("postgres", "sslmode=disable"))
		if err == nil {
			return c.Close(ctx)
		}
		select {
		case <-s.ended:
			return errors.New("PostgreSQL ended")
		case <-ctx.Done():
			return fmt.Errorf("PostgreSQL does not answer: %w", err)
		case <-tick.C:
		}
	}
}

// Address is that of a database, with the password in it.
func (s *Server) Address(database, query string) string {
	return fmt.Sprintf("postgres://%s:%s@127.0.0.1:%d/%s?%s", User, s.Password, s.Port, database, query)
}

// pid is the number of the server's own process.
func (s *Server) pid() (int, error) {
	text, err := os.ReadFile(filepath.Join(s.Data(), "postmaster.pid"))
	if err != nil {
		return 0, err
	}
	first, _, _ := strings.Cut(string(text), "\n")
	return strconv.Atoi(first)
}

// Stop ends the server and waits for it.
func (s *Server) Stop() {
	if s.ended == nil {
		return
	}
	_ = s.input.Close() // it may have ended
	<-s.ended
}

// Kill ends the server as a crash does, and waits for it.
func (s *Server) Kill() error {
	pid, err := s.pid()
	if err != nil {
		return err
	}
	process, err := os.FindProcess(pid)
	if err != nil {
		return err
	}
	if err := process.Kill(); err != nil {
		return fmt.Errorf("kill the server: %w", err)
	}
	<-s.ended
	return nil
}
