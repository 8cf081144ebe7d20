package main

import (
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/eventfuldb/eventful/pkg/event"
	"github.com/eventfuldb/eventful/pkg/problem"
)

// eventArguments are what event:add or aggregate:apply was given besides its flags.
type eventArguments struct {
	event  string            // [TYPE/]EVENT
	fields map[string]string // every --NAME=VALUE that is no flag
	stdin  bool              // a bare -
}

// splitArguments parses the command line of event:add or aggregate:apply: known flags are set on cmd, every other --NAME=VALUE is a field. Behind -- nothing
// is a flag. The errors are usage errors.
func splitArguments(cmd *cobra.Command, raw []string) (args eventArguments, help bool, err error) {
	cmd.InheritedFlags() // merges the flags of the root
	args.fields = map[string]string{}
	var names []string
	for i := 0; i < len(raw); i++ {
		switch word := raw[i]; {
		case word == "--":
			names = append(names, raw[i+1:]...)
			i = len(raw)
		case word == "-h", word == "--help":
			return args, true, nil
		case word == "-":
			args.stdin = true
		case strings.HasPrefix(word, "-"):
			used, err := args.flag(cmd, word, raw[i+1:])
			if err != nil {
				return args, false, err
			}
			i += used
		default:
			names = append(names, word)
		}
	}
	if len(names) != 1 {
		return args, false, usageError("for example `eventful "+cmd.Name()+" patient/crp --id=A --crp=21.0`",
			"%s takes one TYPE/EVENT, and got %d arguments", cmd.Name(), len(names))
	}
	args.event = names[0]
	return args, false, nil
}

// flag takes one flag or field, and says how many of the words behind it belong to it.
func (args *eventArguments) flag(cmd *cobra.Command, word string, rest []string) (used int, err error) {
	name, value, valued := strings.Cut(strings.TrimPrefix(word, "--"), "=")
	known := cmd.Flags().Lookup(name)
	if !strings.HasPrefix(word, "--") {
		known, value, valued = shorthand(cmd, word)
	}
	switch {
	case known == nil && strings.HasPrefix(word, "--"):
		return 0, args.field(name, value, valued)
	case known == nil:
		return 0, usageError("flags and fields begin with --; behind a -- everything is an argument", "%.80q is no flag", word)
	case !valued && known.NoOptDefVal != "":
		value = known.NoOptDefVal
	case !valued && len(rest) == 0:
		return 0, usageError("write --"+known.Name+"=VALUE", "--%s has no value", known.Name)
	case !valued:
		value, used = rest[0], 1
	}
	if err := cmd.Flags().Set(known.Name, value); err != nil {
		if bad := badFlagValue(err); bad != nil {
			return 0, bad
		}
		return 0, problem.New(problem.Malformed, "--%s: %v", known.Name, err)
	}
	return used, nil
}

// shorthand reads -o json, -o=json and -ojson.
func shorthand(cmd *cobra.Command, word string) (known *pflag.Flag, value string, valued bool) {
	if len(word) < 2 || word[1] > 0x7e {
		return nil, "", false
	}
	value = strings.TrimPrefix(word[2:], "=")
	return cmd.Flags().ShorthandLookup(word[1:2]), value, len(word) > 2
}

// checkContext checks the flags that go into headers of the command, as docs/spec/log.md, section 2, bounds them.
func checkContext(cmd *cobra.Command) error {
	for _, name := range []string{"correlation-id", "causation-id", "traceparent"} {
		if cmd.Flags().Lookup(name) == nil {
			continue
		}
		value, _ := cmd.Flags().GetString(name) // all three are string flags
		fits, hint := fitsText(value), "an id has at most 128 bytes of UTF-8 without control characters, and no blank at its ends"
		if name == "traceparent" {
			fits = strings.IndexFunc(value, notVisible) < 0
			hint = "it has at most 128 visible ASCII characters: 00-TRACE-PARENT-FLAGS, as W3C Trace Context writes it"
		}
		if !fits || len(value) > event.MaxContextLen {
			return usageError(hint, "--%s %.80q does not fit", name, value)
		}
	}
	return nil
}

func fitsText(s string) bool {
	return utf8.ValidString(s) && strings.IndexFunc(s, unicode.IsControl) < 0 && strings.TrimSpace(s) == s
}

func notVisible(r rune) bool { return r < 0x21 || r > 0x7e }

func (args *eventArguments) field(name, value string, valued bool) error {
	if err := event.CheckField(name); err != nil {
		return problem.New(problem.Malformed, "%v", err).WithHint("a field is written --NAME=VALUE; `eventful event:add --help` lists the flags")
	}
	if !valued {
		return usageError("write --"+name+"=VALUE", "the field --%s has no value", name)
	}
	if _, twice := args.fields[name]; twice {
		return usageError("give it once", "the field --%s is given twice", name)
	}
	args.fields[name] = value
	return nil
}
