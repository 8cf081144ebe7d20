package inbox

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base32"
	"strconv"
	"strings"
)

// commandIDBytes of the HMAC are in a command id: 128 bits.
const commandIDBytes = 16

// commandID is that of a letter whose sender gave none (docs/spec/commands.md, section 11): the same whenever and wherever the letter is delivered. Nobody without the key can foresee it, for who
// sent a command of his own under it before would have the letter refused.
func commandID(key [32]byte, inbox string, letter uint64) string {
	mac := hmac.New(sha256.New, key[:])
	mac.Write([]byte("letter\x00" + inbox + "\x00" + strconv.FormatUint(letter, 10))) // never fails
	return "inbox-" + strings.ToLower(base32.StdEncoding.WithPadding(base32.NoPadding).EncodeToString(mac.Sum(nil)[:commandIDBytes]))
}

// id names a refusal in its stream, under its seal and in the audit. Nobody but the engines adds any, so it may be foreseen.
func (r *Refusal) id() string { return "inbox-" + r.Inbox + "-" + strconv.FormatUint(r.Letter, 10) }
