// Package doctor examines an installation: its data folder, its nats-servers, its logs and its engines. It changes nothing.
//
// What it finds comes as rows, each with what to do. What cannot be asked, because no server runs or the keys do not open, is a row too: no
// finding, and no word that all is well.
package doctor

import (
	"context"
	"crypto/tls"
	"fmt"
	"strings"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/eventfuldb/eventful/cmd/internal/node"
	"github.com/eventfuldb/eventful/cmd/internal/run"
	"github.com/eventfuldb/eventful/cmd/internal/space"
	"github.com/eventfuldb/eventful/pkg/jetlog"
	"github.com/eventfuldb/eventful/pkg/keyring"
	"github.com/eventfuldb/eventful/streams"
)

// Outcome is what became of a check.
type Outcome string

const (
	OK         Outcome = "ok"
	Finding    Outcome = "finding"
	NotChecked Outcome = "not checked"
)

// What is checked; several rows can have the same name.
const (
	checkPermissions = "permissions"
	checkVersions    = "versions"
	checkKeys        = "keys"
	checkDisk        = "disk"
	checkTLS         = "tls"
	checkServers     = "servers"
	checkSync        = "sync"
	checkEncryption  = "encryption"
	checkClock       = "clock"
	checkStreams     = "streams"
	checkWriter      = "writer"
	checkInbox       = "inbox"
	checkIndex       = "index"
	checkStores      = "stores"
	checkArchive     = "archive"
)

// Result is one row: a check and its outcome.
type Result struct {
	Check   string  `json:"check"`
	Outcome Outcome `json:"outcome"`
	Detail  string  `json:"detail"`
	Remedy  string  `json:"remedy,omitempty"` // what to do about a finding
}

// Config says what to examine.
type Config struct {
	DataDir string // absolute
	DEKFile string // where the DEK is kept; empty: nowhere

	SessionKey string                           // where the key of token:auth's session is kept, if there is one; empty: nowhere
	Version    string                           // of this program
	Running    *run.Info                        // the server on the data folder; nil: none, or URL names others
	URL        string                           // of the nats-servers; empty: none run
	Keys       *keyring.Keyring                 // nil: KeyError says why
	Secrets    *keyring.Secrets                 // nil: KeyError says why
	KeyError   *Problem                         // why the keys do not open
	Status     func(context.Context, any) error // asks the writer (adm.server.status) and decodes the answer
	Now        func() time.Time                 // the clock of this machine

	Host        string      // that the server on the data folder listens on; empty: loopback
	Certificate string      // file of its certificate; empty: none
	Trust       *tls.Config // whom to believe where there is TLS; nil: the system's roots

	Archive run.Archive // where logs go on that were purged

	Limits space.Limits // of free space, as they are set for this data folder

	// Look asks for the file system under a folder; nil: as the system says.
	Look func(dir string) (space.Usage, error)
}

// Problem is why something could not be had, with what to do about it.
type Problem struct{ Detail, Remedy string }

// examination collects rows. One goroutine uses it.
type examination struct {
	Config
	results []Result
	bare    bool // the servers hold no log of the site
}

func (x *examination) ok(check, format string, args ...any) {
	x.results = append(x.results, Result{Check: check, Outcome: OK, Detail: fmt.Sprintf(format, args...)})
}

func (x *examination) found(check, remedy, format string, args ...any) {
	detail := strings.ReplaceAll(fmt.Sprintf(format, args...), "\n", "; ") // of joined errors
	x.results = append(x.results, Result{Check: check, Outcome: Finding, Detail: detail, Remedy: remedy})
}

func (x *examination) notChecked(format string, args ...any) func(checks ...string) {
	return func(checks ...string) {
		for _, check := range checks {
			x.results = append(x.results, Result{Check: check, Outcome: NotChecked, Detail: fmt.Sprintf(format, args...)})
		}
	}
}

// Examine runs every check that can be run, and gives the rows in the order of the checks. It waits some seconds for servers that do not answer.
func Examine(ctx context.Context, c Config) []Result {
	x := &examination{Config: c}
	x.permissions()
	x.versions()
	x.disk(ctx)
	x.certificate()
	if c.KeyError != nil {
		x.found(checkKeys, c.KeyError.Remedy, "%s", c.KeyError.Detail)
	} else {
		x.ok(checkKeys, "keys.json opens with the DEK: site %s", c.Keys.Site())
	}
	online := []string{checkServers, checkSync, checkEncryption, checkClock, checkStreams, checkWriter, checkInbox, checkIndex}
	online = append(online, archiveOff(c.Archive.Place)...)
	switch {
	case c.URL == "":
		x.notChecked("no server runs on %s, and no --server was given", c.DataDir)(online...)
		x.storesAtRest()
	case c.KeyError != nil:
		x.notChecked("the keys do not open, so the servers cannot be asked")(online...)
	default:
		x.online(ctx)
	}
	return x.results
}

// online asks servers, logs and engines.
func (x *examination) online(ctx context.Context) {
	connect := func(account keyring.Account) (*nats.Conn, error) {
		userJWT, seed, err := node.RoleUser(x.Keys.Site(), x.Secrets, account, "doctor", time.Time{}, streams.RoleDoctor)
		if err != nil {
			return nil, err
		}
		credentials, err := node.Credentials(userJWT, seed)
		if err != nil {
			return nil, err
		}
		options := append(append(jetlog.ConnectOptions(), nats.Name("eventful doctor")), credentials...)
		if x.Trust != nil {
			options = append(options, nats.Secure(x.Trust))
		}
		return nats.Connect(x.URL, options...)
	}
	const remedy = "are the servers up, and do they trust this site's operator? `eventful logs` shows what an embedded one says; " +
		"`eventful config show --nats` prints what outside ones must know"
	logs, err := connect(keyring.LOG)
	if err != nil {
		x.found(checkServers, remedy, "connect to %s in account LOG: %v", x.URL, err)
		x.notChecked("the servers cannot be reached")(checkSync, checkEncryption, checkClock, checkStreams, checkWriter, checkInbox, checkIndex)
		return
	}
	defer logs.Close()
	x.outside(logs)
	x.streams(ctx, logs, x.servers(ctx, logs))
	x.kept(ctx, connect)
	x.engines(ctx)
}
