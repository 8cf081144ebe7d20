package run

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"github.com/eventfuldb/eventful/cmd/internal/settings"
	"github.com/eventfuldb/eventful/pkg/archive"
	"github.com/eventfuldb/eventful/pkg/event"
	"github.com/eventfuldb/eventful/pkg/eventlog"
	"github.com/eventfuldb/eventful/pkg/jetlog"
	"github.com/eventfuldb/eventful/pkg/keyring"
	"github.com/eventfuldb/eventful/pkg/natsapi"
	"github.com/eventfuldb/eventful/pkg/problem"
	"github.com/eventfuldb/eventful/pkg/projector"
	"github.com/eventfuldb/eventful/pkg/writer"
	"github.com/eventfuldb/eventful/streams"
)

// Archive says where the archive of a site lies.
type Archive struct {
	Place string // absolute folder, or URL of a bucket; empty: there is none
	Keys  string // file with the bucket's access key and secret key, one a line
	Plain bool   // write without encryption

	OlderThan, LargerThan, IdleFor string        // as ParsePolicies reads them
	Every                          time.Duration // how often that is looked for
}

// ArchiveOf is the archive that settings name.
func ArchiveOf(s *settings.Config) Archive {
	every, _ := time.ParseDuration(s.Text("archive-every")) // checked when it was loaded
	return Archive{Place: s.Archive, Keys: s.ArchiveKeys, Plain: s.ArchivePlain, OlderThan: s.Text("archive-older-than"), LargerThan: s.Text("archive-larger-than"), IdleFor: s.Text("archive-idle-for"), Every: every}
}

// give puts the archive into the configuration of engines.
func (c Archive) give(e *Engines) (err error) {
	if e.Archive, err = c.Open(e.Site, e.Secrets); err != nil {
		return err
	}
	if e.Policies, err = ParsePolicies(c.OlderThan, c.LargerThan, c.IdleFor); err != nil {
		return err
	}
	if !e.Policies.empty() && e.Archive == nil {
		return problem.New(problem.Malformed, "archive-older-than or archive-larger-than is given, and no archive").WithHint("name one with --archive")
	}
	e.ArchiveEvery = c.Every
	return nil
}

// ArchiveFlags are the settings of the archive as flags.
func ArchiveFlags(flags *pflag.FlagSet) {
	flags.String("archive", "", "`place` of the archive: a folder, or s3://HOST[:PORT]/BUCKET[/PREFIX] (s3+http:// without TLS); the same for all processes of a site")
	flags.String("archive-keys", "", "`file` with the bucket's access key and secret key, one a line")
	flags.Bool("archive-plain", false, "write the archive without encryption")
	flags.String("archive-older-than", "", "archive what was written longer `ago` than this, by itself: 720h, or for single logs patient=720h,ward=24h")
	flags.String("archive-larger-than", "", "archive the oldest part of a log whose stream has more `bytes` than this, by itself: 10GiB, or patient=10GiB,ward=1GiB")
	flags.String("archive-idle-for", "", "let aggregates of which nothing was stored for this `time` leave the hot tier: 720h, or patient=720h,ward=24h; it takes no archive")
	flags.String("archive-every", "1m", "how often that is looked for, as a `duration`")
}

// Open opens the archive; nil: there is none. Nothing is read or written yet.
func (c Archive) Open(site string, secrets *keyring.Secrets) (*archive.Archive, error) {
	if c.Place == "" {
		return nil, nil
	}
	key, err := secrets.Derived("archive")
	if err != nil {
		return nil, err
	}
	objects, err := c.objects()
	if err != nil {
		return nil, err
	}
	return archive.New(archive.Config{Objects: objects, Site: site, Key: key[:], Plain: c.Plain})
}

func (c Archive) objects() (archive.Objects, error) {
	if !strings.Contains(c.Place, "://") {
		return archive.OpenFolder(c.Place)
	}
	bucket, err := archive.ParseBucket(c.Place)
	if err != nil {
		return nil, problem.New(problem.Malformed, "archive: %v", err)
	}
	if c.Keys == "" {
		return nil, problem.New(problem.Malformed, "the archive is a bucket, and archive-keys is missing").WithHint("write access key and secret key into a file of mode 0600, one a line, and name it with --archive-keys")
	}
	text, err := settings.ReadSecret(c.Keys)
	if err != nil {
		return nil, err
	}
	access, secret, two := strings.Cut(string(text), "\n")
	if access, secret = strings.TrimSpace(access), strings.TrimSpace(secret); !two || access == "" || secret == "" {
		return nil, problem.New(problem.Malformed, "%s does not hold an access key and a secret key, one a line", c.Keys)
	}
	return archive.OpenBucket(bucket, access, secret)
}

// joined is a store of logs that goes on in the archive, if there is one.
func (e Engines) joined(store eventlog.Store) eventlog.Store {
	if e.Archive == nil {
		return store
	}
	return archive.Join(store, e.Archive)
}

// archiver is what natsapi asks to archive.
type archiver struct {
	*archive.Archiver
	peers writer.Peers
}

// ofArchive are what runs with an archive: nothing, if there is none.
func (e Engines) ofArchive(c *connections, api *natsapi.Config) ([]engine, error) {
	if e.Archive == nil {
		return nil, nil
	}
	store, err := jetlog.New(c.archiving, e.Site, jetlog.Options{})
	if err != nil {
		return nil, err
	}
	a := archiver{archive.NewArchiver(archive.ArchiverConfig{Archive: e.Archive, Logs: store, Passed: store.Standing, Purge: store.Purge, Size: store.Size}), store.Peers()}
	api.Archiver = a
	if e.Policies.empty() {
		return nil, nil
	}
	return []engine{{"archive policies", func(ctx context.Context) error { return e.keepPolicies(ctx, a, store) }, closed()}}, nil
}

// Archive implements natsapi.Archiver; without an asker a policy archives.
func (a archiver) Archive(ctx context.Context, asker, log string, upTo uint64) (natsapi.Archived, *problem.Problem) {
	o, err := a.Archiver.Archive(ctx, log, upTo, func(ctx context.Context, log string, cut uint64, segment event.Hash) (eventlog.KeptSnapshot, error) {
		return writer.AskArchive(ctx, a.peers, log, asker, writer.Cut{Sequence: cut, Segment: segment.String()})
	})
	if errors.Is(err, eventlog.ErrNotFound) {
		return natsapi.Archived{}, problem.New(problem.NotFound, "there is no log %s", log).WithHint("`eventful status` names the logs")
	}
	if err != nil {
		return natsapi.Archived{}, archiveProblem(err)
	}
	return natsapi.Archived{Log: o.Log, UpTo: o.UpTo, Archived: o.Archived, First: o.First, Last: o.Last, Done: o.Done, Waiting: o.Waiting}, nil
}

// Cool implements natsapi.Archiver.
func (a archiver) Cool(ctx context.Context, asker, log string, of event.AggregateID, upTo event.Version) (*writer.TierRecord, *problem.Problem) {
	r, err := writer.AskCool(ctx, a.peers, log, asker, of, upTo)
	if err != nil {
		return nil, archiveProblem(err)
	}
	return r, nil
}

// archiveProblem words why nothing was purged.
func archiveProblem(err error) *problem.Problem {
	var told *problem.Problem
	var u *eventlog.UnreadableError
	switch {
	case errors.As(err, &told):
		return told
	case errors.Is(err, eventlog.ErrAway):
		return problem.New(problem.Unavailable, "%v; nothing was written there, and nothing more was purged", err).WithHint("mount the archive, or put back what is missing, and archive again; `eventful doctor` looks at it, docs/archive.md says more")
	case errors.Is(err, archive.ErrDiffers), errors.Is(err, archive.ErrDamaged), errors.As(err, &u):
		return problem.New(problem.Damaged, "%v; nothing was purged", err).WithHint("put the object back, or what the log has, and archive again; docs/archive.md says how")
	case errors.Is(err, archive.ErrLogDamaged):
		return problem.New(problem.Damaged, "%v; it is archived up to there, and nothing was purged", err).WithHint("`eventful aggregate:verify --all` names all damage")
	}
	return problem.New(problem.Unavailable, "%v; nothing more was purged", err).WithHint("archive again: it goes on where it was")
}

// archiving are the roles of the connection that purges.
func archiving() []streams.Role { return []streams.Role{streams.RoleArchiver} }

// answerStanding tells archivers how far the projector is.
func (e Engines) answerStanding(ctx context.Context, c *connections, p *projector.Projector) error {
	store, err := jetlog.New(c.reading, e.Site, jetlog.Options{})
	if err != nil {
		return fmt.Errorf("answer archivers: %w", err)
	}
	return store.AnswerStanding(ctx, e.instance, func() map[string]uint64 {
		logs := make(map[string]uint64)
		for _, one := range p.Status() {
			logs[one.Log] = one.Indexed
		}
		return logs
	})
}
