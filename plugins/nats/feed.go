package nats

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/eventfuldb/eventful/pkg/plugin"
	"github.com/eventfuldb/eventful/streams"
)

// Site is the NATS of the site itself, where a plugin without --url publishes: stream FEED in the account of people and services. Whoever sends something there can have an answer of the
// server stored under any subject that he can name; so the stream takes events under subjects that only engines know, and gives them those of the feed itself.
type Site struct {
	// Intake is the part of those subjects that only engines know: letters and digits. Empty: this process knows no feed of the site.
	Intake string
	// Connect connects with the rights of a plugin-runner in that account. nil: this process runs no plugins.
	Connect func(options ...nats.Option) (*nats.Conn, error)
	// Maker connects with the right to make the stream and to change its settings, and to do nothing else. nil: this process makes no feed.
	Maker func() (*nats.Conn, error)
	// Replicas is how many servers keep the stream if the configuration does not say; 0: one.
	Replicas int
}

// errNoFeed: the stream is not there.
var errNoFeed = errors.New("stream " + streams.FeedStream + " is not there: `eventful plugin:enable` of this plugin makes it")

// Own reports whether a configuration is of the site's own feed.
func Own(v plugin.Values) bool { return v[optionURL] == "" }

// Make makes the stream of the site's own feed, or brings its settings to what the configuration says. It is for a writer, which alone may; c is its connection in that account. gone
// reports whether there is no plugin of a name any more, whose stream is taken over then.
func (site Site) Make(ctx context.Context, c *nats.Conn, s plugin.Settings, gone func(name string) bool) error {
	jet, err := newJetStream(c)
	if err != nil {
		return err
	}
	config := site.config(s)
	before, err := jet.Stream(ctx, config.Name)
	switch {
	case errors.Is(err, jetstream.ErrStreamNotFound):
		err = site.make(func(jet jetstream.JetStream) error { _, err := jet.CreateStream(ctx, config); return err })
	case err == nil && !ownedBy(before, config) && !gone(ownerOf(before, s.Site)):
		return owned(before, config)
	case err == nil:
		err = site.make(func(jet jetstream.JetStream) error { _, err := jet.UpdateStream(ctx, config); return err })
	}
	if err != nil {
		return fmt.Errorf("stream %s: %w", config.Name, err)
	}
	return nil
}

// make does what only a maker may.
func (site Site) make(do func(jetstream.JetStream) error) error {
	if site.Maker == nil {
		return errors.New("this process makes no feed")
	}
	c, err := site.Maker()
	if err != nil {
		return fmt.Errorf("connect to make it: %w", err)
	}
	defer c.Close()
	jet, err := newJetStream(c)
	if err != nil {
		return err
	}
	return do(jet)
}

// config are the settings of the site's own feed.
func (site Site) config(s plugin.Settings) jetstream.StreamConfig {
	config := streamConfig(s)
	config.Name, config.Subjects = streams.FeedStream, []string{streams.FeedIntake(site.Intake) + ">"}
	config.SubjectTransform = &jetstream.SubjectTransformConfig{Source: config.Subjects[0], Destination: streams.FeedSubjects}
	config.AllowDirect = false // direct gets are answered emptily, wherever the answer is asked to
	if s.Options[optionReplicas] == "" {
		config.Replicas = max(site.Replicas, 1)
	}
	return config
}

// open connects to the site's own feed, which a writer has made.
func (site Site) open(ctx context.Context, s plugin.Settings) (*target, error) {
	if site.Connect == nil || site.Intake == "" {
		return nil, errors.New("this process has no connection to the site's own feed: give --url")
	}
	c, err := site.Connect(lasting()...)
	if err != nil {
		return nil, fmt.Errorf("connect to the site's NATS: %w", err)
	}
	t := &target{connection: c, purges: s.Options.Bool(optionPII), intake: site.Intake}
	if t.jet, err = newJetStream(c); err == nil {
		t.stream, err = t.jet.Stream(ctx, streams.FeedStream)
	}
	switch {
	case errors.Is(err, jetstream.ErrStreamNotFound):
		err = errNoFeed
	case err == nil && !ownedBy(t.stream, site.config(s)):
		err = owned(t.stream, site.config(s))
	case err == nil:
		t.acks, err = listen(c, streams.FeedStream)
	}
	if err != nil {
		c.Close()
		return nil, err
	}
	return t, nil
}

func ownedBy(stream jetstream.Stream, config jetstream.StreamConfig) bool {
	return stream.CachedInfo().Config.Metadata[metadataOwner] == config.Metadata[metadataOwner]
}

// ownerOf is the plugin of the site whose stream it is; empty: none of this site's.
func ownerOf(stream jetstream.Stream, site string) string {
	name, _ := strings.CutPrefix(stream.CachedInfo().Config.Metadata[metadataOwner], "1 "+site+"/")
	return name
}

func owned(stream jetstream.Stream, config jetstream.StreamConfig) error {
	return fmt.Errorf("stream %s is there already and not of this plugin: its metadata %s is %.80q, not %q", config.Name, metadataOwner, stream.CachedInfo().Config.Metadata[metadataOwner], config.Metadata[metadataOwner])
}

// checkOwn says which options are of no use with the site's own feed.
func checkOwn(v plugin.Values) (problems []error) {
	for _, name := range []string{optionCreds, optionCA} {
		if v[name] != "" {
			problems = append(problems, fmt.Errorf("--%s belongs to --%s; without that the feed is the site's own", name, optionURL))
		}
	}
	if !slices.Contains([]string{defaultStream, streams.FeedStream}, v[optionStream]) {
		problems = append(problems, fmt.Errorf("--%s belongs to --%s: the site's own feed is stream %s", optionStream, optionURL, streams.FeedStream))
	}
	return problems
}
