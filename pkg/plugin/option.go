package plugin

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Form is what an option's text must be.
type Form string

// The forms of options.
const (
	Text     Form = ""         // any text
	Integer  Form = "integer"  // a decimal number between Min and Max
	Boolean  Form = "boolean"  // true or false
	Duration Form = "duration" // of Go: 250ms, 5s, 1h; between Min and Max, which count milliseconds
	Choice   Form = "choice"   // one of Values
	List     Form = "list"     // texts separated by commas; each is one of Values, if there are any
	File     Form = "file"     // on the command line the name of a file; the value is its content
)

// Taken are the names that no option of a kind may have: on the command line they mean something else, or every plugin has them (package delivery).
func Taken() []string {
	return []string{
		"account", "auth-key", "auth-key-file", "data-dir", "file", "help", "no-color", "output", "server", "timeout", "tls-ca", "type",
		"partitions", "on-error", "types", "state", "pii", "batch", "concurrency", "rate", "call-timeout", "max-backoff",
	}
}

// MaxValue is the longest value of an option, in bytes.
const MaxValue = 256 << 10

// Masked stands in the place of a secret where options are shown. Given as a value, it keeps the secret as it is.
const Masked = "********"

// Option is one option of a kind.
type Option struct {
	// Name as it stands behind the two hyphens: a-z, 0-9 and hyphens.
	Name string
	// Help says in one line what it is for, with its unit.
	Help     string
	Form     Form
	Default  string // taken when it is not given; empty: none
	Required bool
	// Secret: the value is stored sealed, shown masked, and never logged.
	Secret bool
	// Address: it says where secret ones are sent. With another value those have to be given anew.
	Address  bool
	Values   []string // of Choice and List
	Min, Max int64    // of Integer and Duration; both 0: no bounds
	// Check says what else is wrong with a value, without repeating one that is secret; nil: nothing.
	Check func(value string) error
}

// Values are options by name. The methods give zero for what is absent and for what has another form; Examine has seen to the form.
type Values map[string]string

// Int is the number of an Integer.
func (v Values) Int(name string) int {
	n, _ := strconv.Atoi(v[name])
	return n
}

// Bool is true for a Boolean that is true.
func (v Values) Bool(name string) bool { return v[name] == "true" }

// Duration is that of a Duration.
func (v Values) Duration(name string) time.Duration {
	d, _ := time.ParseDuration(v[name])
	return d
}

// List is the parts of a List; nil for none.
func (v Values) List(name string) []string {
	if v[name] == "" {
		return nil
	}
	return strings.Split(v[name], ",")
}

// examine gives the values with defaults filled in, and everything that is wrong with them by itself.
func examine(options []Option, given Values) (Values, []error) {
	values, problems := Values{}, []error(nil)
	for _, name := range slices.Sorted(maps.Keys(given)) {
		if !slices.ContainsFunc(options, func(o Option) bool { return o.Name == name }) {
			problems = append(problems, fmt.Errorf("--%.40s is no option of this plugin; known are %s", name, names(options)))
		}
	}
	for i := range options {
		o := &options[i]
		value, ok := given[o.Name]
		if !ok {
			value, ok = o.Default, o.Default != ""
		}
		switch {
		case !ok && o.Required:
			problems = append(problems, fmt.Errorf("--%s is missing: %s", o.Name, o.Help))
		case ok:
			values[o.Name] = value
			if err := o.Examine(value); err != nil {
				problems = append(problems, fmt.Errorf("--%s: %w", o.Name, err))
			}
		}
	}
	return values, problems
}

// Examine says what is wrong with one value.
func (o *Option) Examine(value string) error {
	if len(value) > MaxValue {
		return fmt.Errorf("%d bytes, at most %d are allowed", len(value), MaxValue)
	}
	if err := o.form(value); err != nil {
		return err
	}
	if o.Required && value == "" {
		return errors.New("it must not be empty")
	}
	if o.Check != nil {
		return o.Check(value)
	}
	return nil
}

func (o *Option) form(value string) error {
	switch o.Form {
	case Integer:
		n, err := strconv.ParseInt(value, 10, 64)
		if err != nil {
			return fmt.Errorf("%s is no whole number", o.quote(value))
		}
		return o.within(n, strconv.FormatInt(o.Min, 10), strconv.FormatInt(o.Max, 10))
	case Duration:
		d, err := time.ParseDuration(value)
		if err != nil {
			return fmt.Errorf("%s is no duration, as 250ms or 5s are", o.quote(value))
		}
		return o.within(d.Milliseconds(), milliseconds(o.Min), milliseconds(o.Max))
	case Boolean:
		if value != "true" && value != "false" {
			return fmt.Errorf("%s is neither true nor false", o.quote(value))
		}
	case Choice:
		return o.oneOf(value)
	case List:
		for _, part := range strings.Split(value, ",") {
			if err := o.oneOf(part); err != nil {
				return err
			}
		}
	}
	return nil
}

func (o *Option) within(n int64, low, high string) error {
	if (o.Min != 0 || o.Max != 0) && (n < o.Min || n > o.Max) {
		return fmt.Errorf("it must lie between %s and %s", low, high)
	}
	return nil
}

func milliseconds(n int64) string { return (time.Duration(n) * time.Millisecond).String() }

func (o *Option) oneOf(value string) error {
	if len(o.Values) > 0 && !slices.Contains(o.Values, value) {
		return fmt.Errorf("%s is none of %s", o.quote(value), strings.Join(o.Values, ", "))
	}
	return nil
}

// quote gives the value for an error, unless it is secret.
func (o *Option) quote(value string) string {
	if o.Secret {
		return "the value"
	}
	return fmt.Sprintf("%.60q", value)
}

func names(options []Option) string {
	all := make([]string, 0, len(options))
	for i := range options {
		all = append(all, "--"+options[i].Name)
	}
	slices.Sort(all)
	return strings.Join(all, ", ")
}
