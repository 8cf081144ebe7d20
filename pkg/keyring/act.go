package keyring

import (
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nkeys"
)

// What `config`, `creds` and store:reencrypt do, as events of the system log (docs/adr/0005-config-acts.md).
const (
	ActConfigured  = "site-configured"
	ActDEK         = "dek-replaced"
	ActMasterKey   = "master-key-replaced"
	ActSettings    = "settings-changed"
	ActReencrypted = "store-reencrypted"
	ActCredentials = "credentials-made"
)

// What who did an act proved to have.
const (
	ProvedMasterKey = "master-key"
	ProvedDEK       = "dek"
	ProvedNothing   = "nothing" // he could write the data folder
)

// MaxActs is how many acts wait in a key file, at most.
const MaxActs = 1000

const (
	maxOneAct  = 64 << 10  // bytes of one that proves nothing
	maxActText = 768 << 10 // bytes of all acts in a key file, which is read up to maxFile

	actFormat = "1"
	actData   = "eventful"
	actID     = 26 // characters
)

// By says who does an act, as the operating system names him.
type By struct{ User, Host string }

// Act is something that was done to the key file or the settings of a site. It waits in the key file until a writer has entered it into the system log.
type Act struct {
	By
	At       time.Time         // to the second
	ID       string            // 26 characters; an act is entered once under it
	Event    string            // one of the constants
	Settings map[string]string // or what else there is to say
	Proved   string            // one of the constants
	Issuer   string            // public key that signed it
	Proof    string            // JWT that says all of it
	Pending  bool              // the settings were perhaps not written
}

// noted is an act as it stands in the key file.
type noted struct {
	Act     string `json:"act"` // JWT
	Pending bool   `json:"pending,omitempty"`
}

// actText is an act as it stands in the JWT.
type actText struct {
	Format   string            `json:"v"`
	Event    string            `json:"act"`
	ID       string            `json:"id"`
	User     string            `json:"user,omitempty"`
	Host     string            `json:"host,omitempty"`
	Settings map[string]string `json:"settings,omitempty"`
}

// Acts gives the acts that the file holds, oldest first. The error, which joins those of acts that cannot be read or are of another site, comes with the others.
func (k *Keyring) Acts() (acts []Act, err error) {
	for i, n := range k.file.Acts {
		a, one := k.readAct(n)
		if one != nil {
			err = errors.Join(err, fmt.Errorf("act %d of %s: %w", i+1, k.path, one))
			continue
		}
		acts = append(acts, a)
	}
	return acts, err
}

// NoteSettings writes that settings are about to be changed, as pending. SettleSettings says later what became of it. Whoever knows master key or DEK proves it by giving one
// that opens; both may be nil. ErrFull: too many acts wait.
func (k *Keyring) NoteSettings(by By, settings map[string]string, masterKey, dek []byte) error {
	seed, err := k.signer(masterKey, dek)
	if err != nil {
		return err
	}
	return k.rewrite(func() error { return k.note(seed, noteOf{ActSettings, by, settings, true}) })
}

// NoteCredentials writes that users were signed with the site's keys. ErrFull: too many acts wait.
func (k *Keyring) NoteCredentials(by By, s *Secrets, made map[string]string) error {
	return k.rewrite(func() error {
		return k.note(s.OperatorSigningSeed, noteOf{event: ActCredentials, by: by, settings: made})
	})
}

// SignCredentials says that users were signed, as NoteCredentials does, for who sends it to a writer at once: nothing is written.
func (k *Keyring) SignCredentials(by By, s *Secrets, made map[string]string) (proof string, err error) {
	proof, _, err = k.sign(s.OperatorSigningSeed, noteOf{event: ActCredentials, by: by, settings: made})
	return proof, err
}

// ReadAct reads the proof of an act of this site. ErrCorrupt: it is none; ErrNewer: of a later version.
func (k *Keyring) ReadAct(proof string) (Act, error) { return k.readAct(noted{Act: proof}) }

// SettleSettings clears the mark of pending acts whose settings are in force, drops the others, and writes the file if that changed anything.
func (k *Keyring) SettleSettings(inForce func(map[string]string) bool) error {
	if !slices.ContainsFunc(k.file.Acts, func(n noted) bool { return n.Pending }) {
		return nil
	}
	return k.rewrite(func() error {
		var kept []noted
		for _, n := range k.file.Acts {
			if a, err := k.readAct(n); n.Pending && (err != nil || !inForce(a.Settings)) {
				continue
			}
			kept = append(kept, noted{Act: n.Act})
		}
		k.file.Acts = kept
		return nil
	})
}

// CarryActs takes over the acts that another key file of the site has got since this one was copied from it, and writes the file if there are any.
func (k *Keyring) CarryActs(from *Keyring) error {
	missing := slices.DeleteFunc(slices.Clone(from.file.Acts), func(n noted) bool {
		return slices.ContainsFunc(k.file.Acts, func(own noted) bool { return own.Act == n.Act })
	})
	if len(missing) == 0 {
		return nil
	}
	return k.rewrite(func() error {
		k.file.Acts = append(slices.Clone(k.file.Acts), missing...)
		return nil
	})
}

// LeaveOut takes acts that were entered out of the file when it is next written.
func (k *Keyring) LeaveOut(ids []string) {
	k.file.Acts = slices.DeleteFunc(slices.Clone(k.file.Acts), func(n noted) bool {
		a, err := k.readAct(n)
		return err == nil && slices.Contains(ids, a.ID)
	})
}

// rewrite changes the file; if that fails it stays as it was, here too.
func (k *Keyring) rewrite(change func() error) error {
	before := k.file
	err := change()
	if err == nil {
		err = k.write()
	}
	if err != nil {
		k.file = before
	}
	return err
}

// noteOf is what note writes.
type noteOf struct {
	event    string
	by       By
	settings map[string]string
	pending  bool
}

// note appends an act, signed with an operator's seed, to those of the file.
func (k *Keyring) note(seed []byte, n noteOf) error {
	text, issuer, err := k.sign(seed, n)
	if err != nil {
		return err
	}
	if len(text) > maxOneAct && k.provedBy(issuer) == ProvedNothing {
		return fmt.Errorf("note %s: %w: it has %d bytes, at most %d are kept", n.event, ErrFull, len(text), maxOneAct)
	}
	size := len(text)
	for _, waiting := range k.file.Acts {
		size += len(waiting.Act)
	}
	if len(k.file.Acts) >= MaxActs || size > maxActText {
		return fmt.Errorf("note %s: %w: %d wait in %s", n.event, ErrFull, len(k.file.Acts), k.path)
	}
	k.file.Acts = append(slices.Clone(k.file.Acts), noted{Act: text, Pending: n.pending})
	return nil
}

// sign makes the JWT of an act.
func (k *Keyring) sign(seed []byte, n noteOf) (text, issuer string, err error) {
	pair, err := nkeys.FromSeed(seed)
	if err != nil {
		return "", "", fmt.Errorf("read the seed that signs an act: %w", err)
	}
	c := jwt.NewGenericClaims(k.AccountID(APP))
	c.Data[actData] = actText{Format: actFormat, Event: n.event, ID: rand.Text()[:actID], User: n.by.User, Host: n.by.Host, Settings: n.settings}
	if text, err = c.Encode(pair); err != nil {
		return "", "", fmt.Errorf("sign %s: %w", n.event, err)
	}
	return text, c.Issuer, nil
}

// signer is the seed that signs an act: the operator's for who has the master key, that of its signing key for who has the DEK, else a fresh one.
func (k *Keyring) signer(masterKey, dek []byte) ([]byte, error) {
	if masterKey != nil {
		if seed, err := k.OpenOperator(masterKey); err == nil {
			return seed, nil
		}
	}
	if dek != nil {
		if secrets, err := k.Open(dek); err == nil {
			return secrets.OperatorSigningSeed, nil
		}
	}
	fresh, err := nkeys.CreateOperator()
	if err != nil {
		return nil, fmt.Errorf("make a key for an act: %w", err)
	}
	_, seed, err := publicAndSeed(fresh)
	return seed, err
}

func (k *Keyring) readAct(n noted) (Act, error) {
	c, err := jwt.DecodeGeneric(n.Act)
	if err != nil {
		return Act{}, fmt.Errorf("%w: %w", ErrCorrupt, err)
	}
	raw, err := json.Marshal(c.Data[actData])
	t := actText{}
	if err == nil {
		err = json.Unmarshal(raw, &t)
	}
	switch known := []string{ActConfigured, ActDEK, ActMasterKey, ActSettings, ActReencrypted, ActCredentials}; {
	case err != nil, t.Format == actFormat && (!isActID(t.ID) || !slices.Contains(known, t.Event)):
		return Act{}, fmt.Errorf("%w: it is none", ErrCorrupt)
	case t.Format != actFormat:
		return Act{}, fmt.Errorf("%w: it has version %.20q, this program knows %s", ErrNewer, t.Format, actFormat)
	case c.Subject != k.AccountID(APP):
		return Act{}, fmt.Errorf("%w: it is of another site", ErrCorrupt)
	case t.Event != ActSettings && k.provedBy(c.Issuer) == ProvedNothing:
		return Act{}, fmt.Errorf("%w: it claims %s, and no key of the operator signed it", ErrCorrupt, t.Event)
	case len(n.Act) > maxOneAct && k.provedBy(c.Issuer) == ProvedNothing:
		return Act{}, fmt.Errorf("%w: it has %d bytes, and no key of the operator signed it", ErrCorrupt, len(n.Act))
	}
	return Act{
		By: By{User: t.User, Host: t.Host}, At: time.Unix(c.IssuedAt, 0).UTC(), ID: t.ID, Event: t.Event, Settings: t.Settings,
		Proved: k.provedBy(c.Issuer), Issuer: c.Issuer, Proof: n.Act, Pending: n.Pending,
	}, nil
}

// isActID reports whether s is what note makes of randomness.
func isActID(s string) bool {
	return len(s) == actID && !strings.ContainsFunc(s, func(r rune) bool { return !strings.ContainsRune("ABCDEFGHIJKLMNOPQRSTUVWXYZ234567", r) })
}

func (k *Keyring) provedBy(issuer string) string {
	switch slices.Index(k.OperatorKeys(), issuer) {
	case -1:
		return ProvedNothing
	case 0:
		return ProvedMasterKey
	}
	return ProvedDEK
}
