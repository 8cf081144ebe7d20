package nats

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net/url"
	"regexp"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/nats-io/nkeys"

	"github.com/eventfuldb/eventful/pkg/plugin"
	"github.com/eventfuldb/eventful/streams"
)

// Names of the options.
const (
	optionURL        = "url"
	optionCreds      = "creds"
	optionCA         = "ca"
	optionStream     = "stream"
	optionAge        = "max-age"
	optionBytes      = "max-bytes"
	optionReplicas   = "replicas"
	optionDuplicates = "duplicate-window"

	optionPII = "pii" // of every plugin
)

const (
	// defaultStream is the name of the stream on a NATS of somebody's.
	defaultStream = "EVENTS"
	// metadataOwner is where a stream says whose it is, with the version of what it holds.
	metadataOwner = "eventful-feed"

	hour = int64(time.Hour / time.Millisecond)
)

func options() []plugin.Option {
	return []plugin.Option{
		{Name: optionURL, Help: "addresses of the servers, nats:// or tls://, separated by commas; without one, the site's own feed", Form: plugin.List, Check: checkURLs, Address: true},
		{Name: optionCreds, Help: "content of a credentials file: a JWT and its seed", Secret: true, Check: checkCreds},
		{Name: optionCA, Help: "file with the certificates (PEM) that the servers' own are signed by; without one, those that the system trusts", Form: plugin.File, Check: plugin.CheckCertificates},
		{Name: optionStream, Help: "name of the stream, which is made if it is missing", Default: defaultStream, Check: checkStream},
		{Name: optionAge, Help: "how long events stay in the stream; 0s: for ever", Form: plugin.Duration, Default: "0s", Min: 0, Max: 100 * 366 * 24 * hour},
		{Name: optionBytes, Help: "size of the stream in bytes, beyond which the oldest events go; 0: no limit", Form: plugin.Integer, Default: "0", Min: 0, Max: 1 << 60},
		{Name: optionReplicas, Help: "servers that keep the stream; 1, or for the site's own as many as keep its logs", Form: plugin.Choice, Values: []string{"1", "3", "5"}},
		{Name: optionDuplicates, Help: "how long the server knows an event again and drops it", Form: plugin.Duration, Default: "2m", Min: 1000, Max: 24 * hour},
	}
}

// check looks at options against each other.
func check(s plugin.Settings) []error {
	if Own(s.Options) {
		if problems := checkOwn(s.Options); len(problems) > 0 {
			return problems
		}
	}
	if age := s.Options.Duration(optionAge); age > 0 && age < s.Options.Duration(optionDuplicates) {
		return []error{fmt.Errorf("--%s cannot be longer than --%s", optionDuplicates, optionAge)}
	}
	return nil
}

// show names the stream of the site's own feed, whatever the default of others is.
func show(s plugin.Settings) plugin.Values {
	if Own(s.Options) {
		s.Options[optionStream] = streams.FeedStream
	}
	return s.Options
}

func checkURLs(value string) error {
	for text := range strings.SplitSeq(value, ",") {
		u, err := url.Parse(text)
		switch {
		case err != nil || u.Hostname() == "" || u.Scheme != "nats" && u.Scheme != "tls" || u.Path != "" || u.RawQuery != "":
			return errors.New("an address is nats://HOST:PORT or tls://HOST:PORT")
		case u.User != nil:
			return errors.New("an address holds no user: give --creds-file")
		}
	}
	return nil
}

func checkCreds(value string) error {
	if _, err := nkeys.ParseDecoratedJWT([]byte(value)); err != nil {
		return errors.New("there is no JWT in it")
	}
	pair, err := nkeys.ParseDecoratedUserNKey([]byte(value))
	if err != nil {
		return errors.New("there is no seed of a user in it")
	}
	pair.Wipe()
	return nil
}

// streamName is what JetStream and file systems take.
var streamName = regexp.MustCompile(`^[A-Za-z0-9_-]{1,100}$`)

func checkStream(value string) error {
	if !streamName.MatchString(value) {
		return fmt.Errorf("%.60q is no name of a stream: letters, digits, _ and -, at most 100", value)
	}
	return nil
}

// streamConfig are the settings of the stream.
func streamConfig(s plugin.Settings) jetstream.StreamConfig {
	config := jetstream.StreamConfig{
		Name: s.Options[optionStream], Description: "events of EventfulDB, for who wants to follow them", Subjects: []string{streams.FeedSubjects},
		MaxAge: s.Options.Duration(optionAge), MaxBytes: int64(s.Options.Int(optionBytes)), Replicas: max(s.Options.Int(optionReplicas), 1), Duplicates: s.Options.Duration(optionDuplicates),
		Storage: jetstream.FileStorage, Discard: jetstream.DiscardOld, AllowDirect: true, Metadata: map[string]string{metadataOwner: "1 " + s.Site + "/" + s.Name},
	}
	if config.MaxBytes == 0 {
		config.MaxBytes = -1
	}
	return config
}

// lasting are the options of each connection. Nothing is kept for later while it is lost: an event that came late could overtake those behind it.
func lasting() []nats.Option {
	return []nats.Option{nats.MaxReconnects(-1), nats.ReconnectBufSize(-1), nats.Timeout(5 * time.Second), nats.NoCallbacksAfterClientClose()}
}

// connect connects.
func connect(s plugin.Settings) (*nats.Conn, error) {
	opts := append(lasting(), nats.Name("eventful plugin "+s.Name))
	if creds := s.Options[optionCreds]; creds != "" {
		opts = append(opts, nats.UserCredentialBytes([]byte(creds)))
	}
	if roots := s.Options.Certificates(optionCA); roots != nil {
		opts = append(opts, nats.Secure(&tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}))
	}
	c, err := nats.Connect(s.Options[optionURL], opts...)
	if err != nil {
		return nil, fmt.Errorf("connect to NATS: %w", err)
	}
	return c, nil
}
