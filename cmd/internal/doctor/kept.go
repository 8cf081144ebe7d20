package doctor

import (
	"context"
	"errors"
	"strings"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/eventfuldb/eventful/cmd/internal/run"
	"github.com/eventfuldb/eventful/pkg/eventlog"
	"github.com/eventfuldb/eventful/pkg/fieldkey"
	"github.com/eventfuldb/eventful/pkg/jetlog"
	"github.com/eventfuldb/eventful/pkg/keyring"
	"github.com/eventfuldb/eventful/streams"
)

// kept compares the streams besides the logs with the topology: staged commits, field keys, checkpoints, refused commands and what plugins keep in the account LOG, the inbox and the feed in APP. One
// that is not there was not made yet: the first writer, or the first plugin, makes it.
func (x *examination) kept(ctx context.Context, connect func(keyring.Account) (*nats.Conn, error)) {
	var inLog [][]streams.Setting
	inbox, wrong := streams.InboxSettings(0)
	for _, of := range []func(string, int) ([]streams.Setting, error){
		streams.StagedSettings, streams.KeysSettings, streams.CheckpointsSettings, streams.RefusedSettings, streams.SnapshotSettings, streams.PositionsSettings, streams.DeadSettings,
	} {
		settings, err := of(x.Keys.Site(), 0)
		inLog, wrong = append(inLog, settings), errors.Join(wrong, err)
	}
	if wrong != nil {
		x.found(checkStreams, "", "%v", wrong)
		return
	}
	for account, all := range map[keyring.Account][][]streams.Setting{keyring.LOG: inLog, keyring.APP: {inbox}} {
		nc, err := connect(account)
		if err != nil {
			x.found(checkStreams, "are the servers up, and do they trust this site's operator?", "connect to %s in account %s: %v", x.URL, account, err)
			continue
		}
		if account == keyring.LOG {
			x.settings(ctx, nc, all, "set back what differs (a break-glass credential, `nats stream edit`); where nobody changed it, the stream was made by an older eventful")
			x.strangers(ctx, nc)
		} else {
			x.settings(ctx, nc, all, "find out who changed it (`eventful audit:list --aggregate=eventful-stream/CMD_INBOX`); where nobody did, it was made by an older eventful, and is made anew: when `eventful inbox:status` says that nothing waits, stop the server, remove the folder CMD_INBOX in jetstream and start it")
			x.feed(ctx, nc)
		}
		nc.Close()
	}
}

// examinedKeys is how many of the newest keys of encrypted fields are looked at; it takes under a second.
const examinedKeys = 1000

// strangers looks for what lies among the newest keys of encrypted fields and was never one: somebody had JetStream store it there.
func (x *examination) strangers(ctx context.Context, nc *nats.Conn) {
	ctx, cancel := context.WithTimeout(ctx, streamPatience)
	defer cancel()
	stream, subjects, err := x.keys(ctx, nc)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		return
	}
	for n, next := 0, uint64(1); err == nil && n < examinedKeys; n++ {
		if last := stream.CachedInfo().State.LastSeq; n == 0 && last > examinedKeys {
			next = last - examinedKeys + 1
		}
		var m *jetstream.RawStreamMsg
		if m, err = stream.GetMsg(ctx, next, jetstream.WithGetMsgSubject(subjects)); errors.Is(err, jetstream.ErrMsgNotFound) {
			return
		}
		if err != nil {
			break
		}
		if fieldkey.Foreign(m.Data) && len(m.Data) > 0 {
			x.found(checkStreams, "a command that needs that key removes it, else a break-glass credential can; find out who holds a credential in account LOG, and make all keys of the site anew if nobody should",
				"message %d of the keys of encrypted fields is none of EventfulDB's: somebody had it stored there", m.Sequence)
		}
		next = m.Sequence + 1
	}
	if err != nil {
		x.found(checkStreams, "the log of the nats-servers says what ails the stream", "look through the keys of encrypted fields: %v", err)
	}
}

// keys is the stream of the keys of encrypted fields, with its subjects.
func (x *examination) keys(ctx context.Context, nc *nats.Conn) (jetstream.Stream, string, error) {
	bucket, err := streams.KeysBucket(x.Keys.Site())
	if err != nil {
		return nil, "", err
	}
	js, err := jetstream.New(nc)
	if err != nil {
		return nil, "", err
	}
	stream, err := js.Stream(ctx, "KV_"+bucket)
	return stream, "$KV." + bucket + ".>", err
}

func (x *examination) settings(ctx context.Context, nc *nats.Conn, all [][]streams.Setting, remedy string) {
	store, err := jetlog.New(nc, x.Keys.Site(), jetlog.Options{GiveUp: streamPatience})
	if err != nil {
		x.found(checkStreams, "", "%v", err)
		return
	}
	for _, settings := range all {
		x.compared(store.Check(ctx, settings), remedy)
	}
}

// compared tells what came of the comparison of a stream with its settings; remedy is for one with others.
func (x *examination) compared(err error, remedy string) {
	switch {
	case err == nil, errors.Is(err, eventlog.ErrNotFound):
	case errors.Is(err, jetlog.ErrNewer):
		x.found(checkStreams, "use the eventful that made it, or a newer one", "%v", err)
	case errors.Is(err, jetlog.ErrSettings):
		x.found(checkStreams, remedy, "%v", err)
	default:
		x.found(checkStreams, "the log of the nats-servers says what ails the stream", "%v", err)
	}
}

// feed compares the site's own feed with what it must be like. Its subjects hold a secret, which is left out of what is told.
func (x *examination) feed(ctx context.Context, nc *nats.Conn) {
	intake, err := run.Intake(x.Secrets)
	if err != nil {
		x.found(checkStreams, "", "%v", err)
		return
	}
	store, err := jetlog.New(nc, x.Keys.Site(), jetlog.Options{GiveUp: streamPatience})
	if err != nil {
		x.found(checkStreams, "", "%v", err)
		return
	}
	err = store.Compare(ctx, streams.FeedSettings(streams.FeedIntake(intake)))
	if err != nil {
		err = told{err, strings.ReplaceAll(err.Error(), intake, "<secret>")}
	}
	x.compared(err, "find out who changed it (`eventful audit:list --aggregate=eventful-stream/FEED`); `eventful plugin:config` of its plugin, as it is, sets it back")
}

// told is an error in other words.
type told struct {
	error
	words string
}

func (t told) Error() string { return t.words }

func (t told) Unwrap() error { return t.error }
