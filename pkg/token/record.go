package token

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

// Fields is the auth key as the event key-added in the system log has it (docs/spec/commands.md, section 9). Empty values mean the zero value.
func (k Key) Fields() map[string]string {
	actions := make([]string, len(k.Actions))
	for i, a := range k.Actions {
		actions[i] = string(a)
	}
	return map[string]string{
		"name": k.Name, "aggregates": strings.Join(k.Aggregates, " "), "actions": strings.Join(actions, " "),
		"maxlimit": strconv.FormatUint(k.MaxLimit, 10), "maxexpiration": strconv.FormatInt(int64(k.MaxExpiration/time.Second), 10),
	}
}

// KeyOf is the inverse of Fields. Any value of the field ended, which the event key-revoked has, says that the key is revoked.
func KeyOf(id string, f map[string]string) (Key, error) {
	k := Key{ID: id, Name: f["name"], Aggregates: strings.Fields(f["aggregates"]), Revoked: f["ended"] != ""}
	for _, a := range strings.Fields(f["actions"]) {
		k.Actions = append(k.Actions, Action(a))
	}
	var err error
	if k.MaxLimit, err = number(f["maxlimit"]); err != nil {
		return Key{}, fmt.Errorf("auth key %s: maxlimit: %w", id, err)
	}
	seconds, err := number(f["maxexpiration"])
	if err != nil {
		return Key{}, fmt.Errorf("auth key %s: maxexpiration: %w", id, err)
	}
	if seconds > uint64(math.MaxInt64/time.Second) {
		return Key{}, fmt.Errorf("auth key %s: maxexpiration of %d seconds is too long", id, seconds)
	}
	k.MaxExpiration = time.Duration(seconds) * time.Second
	return k, nil
}

func number(s string) (uint64, error) {
	if s == "" {
		return 0, nil
	}
	return strconv.ParseUint(s, 10, 64)
}
