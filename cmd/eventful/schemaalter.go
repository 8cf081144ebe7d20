package main

import (
	"maps"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/eventfuldb/eventful/pkg/client"
	"github.com/eventfuldb/eventful/pkg/event"
	"github.com/eventfuldb/eventful/pkg/problem"
	"github.com/eventfuldb/eventful/pkg/schema"
)

// fieldRules are the flags of schema:alter that are about one field, --lock apart, which may be about the whole type.
var fieldRules = []string{"required", "max-length", "type", "pattern", "values", "unique", "pii"}

// eventChanges are those that are about one event type.
var eventChanges = []string{"add", "remove", "deletes", "restore"}

// alteration is what schema:alter was asked to change. given says which flags stood on the command line.
type alteration struct {
	given      func(string) bool
	event      string
	add        []string
	remove     []string
	deletes    bool
	restore    bool
	field      string
	lock       bool
	threshold  int
	required   bool
	unique     bool
	pii        bool
	maxLength  int
	fieldType  string
	pattern    string
	enumValues []string
}

func newSchemaAlterCommand(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "schema:alter TYPE",
		Short: "Draft a change of an aggregate type's schema",
		Long: "Draft a change of an aggregate type's schema; " + pendingNote + ".\n\n" +
			"  eventful schema:alter patient -e crp -a crp,unit          the event type crp (new or not) gets two fields\n" +
			"  eventful schema:alter patient -e crp -r unit              and loses one\n" +
			"  eventful schema:alter patient -e release --deletes        the event ends the aggregate\n" +
			"  eventful schema:alter patient --field=crp --type=decimal  rules of a field, in whichever event it stands\n" +
			"  eventful schema:alter patient -e crp --field=crp --required\n" +
			"  eventful schema:alter patient -e crp -a crp --required    the same for a field that is added just now: --field is not needed\n" +
			"  eventful schema:alter patient --field=ssn --unique        no two patients hold the same value\n" +
			"  eventful schema:alter patient --field=name --pii          new values are stored encrypted; data:forget destroys the key\n" +
			"  eventful schema:alter patient --lock                      no more events; --lock=false takes it back",
		Args: cobra.ExactArgs(1),
	}
	var c alteration
	flags := cmd.Flags()
	flags.StringVarP(&c.event, "event", "e", "", "event `type` that --add, --remove, --deletes and --required are about")
	flags.StringSliceVarP(&c.add, "add", "a", nil, "`fields` that the event gets")
	flags.StringSliceVarP(&c.remove, "remove", "r", nil, "`fields` that the event loses")
	flags.BoolVar(&c.deletes, "deletes", false, "the event ends the aggregate")
	flags.BoolVar(&c.restore, "restore", false, "the event type, which was removed, takes events again")
	flags.StringVar(&c.field, "field", "", "`field` that the rules below, and --lock, are about; not needed where one field is added")
	flags.BoolVar(&c.lock, "lock", false, "lock the field, or without --field the whole type")
	flags.IntVar(&c.threshold, "snapshot-threshold", 0, "`events` between two snapshots; 0: none by number")
	flags.BoolVar(&c.required, "required", false, "every such event must set the field; without -e in every event type that has it")
	flags.IntVar(&c.maxLength, "max-length", 0, "longest value, in `characters`; 0: no rule")
	flags.StringVar(&c.fieldType, "type", "", "`type` of the values: string, integer, decimal, date, datetime, bool, email, uuid or enum")
	flags.BoolVar(&c.unique, "unique", false, "no two aggregates hold the same value of the field; =false ends that")
	flags.BoolVar(&c.pii, "pii", false, "new values of the field are stored encrypted, under a key of the aggregate that data:forget destroys; =false ends that for new events")
	flags.StringVar(&c.pattern, "pattern", "", "`expression` (RE2) that the whole value must match; empty: no rule")
	flags.StringSliceVar(&c.enumValues, "values", nil, "`values` of an enum, separated by commas")
	adminFlags(cmd)
	c.given = flags.Changed
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if err := c.check(); err != nil {
			return err
		}
		return a.withAdmin(cmd, func(cl *client.Client) error {
			p, err := present(cmd, cl, args[0])
			if err != nil {
				return err
			}
			d := p.former.Definition
			if err := c.apply(&d); err != nil {
				return err
			}
			if _, known := p.former.Events[c.event]; c.given("event") && !known && len(c.add) == 0 {
				a.warn("%s had no event type %s: it is a new one", d.Aggregate, c.event)
			}
			return a.draftOne(cmd, cl, p, d)
		})
	}
	return cmd
}

func (c *alteration) check() error {
	if len(c.add) == 1 && !c.given("field") && len(c.namedOf(fieldRules)) > 0 {
		c.field = strings.TrimSpace(c.add[0])
	}
	rules, changes := c.namedOf(fieldRules), c.namedOf(eventChanges)
	switch {
	case len(rules)+len(changes) == 0 && len(c.namedOf([]string{"event", "field", "lock", "snapshot-threshold"})) == 0:
		return usageError("`eventful schema:alter --help` shows examples", "nothing is to be changed")
	case len(changes) > 0 && !c.given("event"):
		return usageError("name it with -e", "%s: of which event type?", strings.Join(changes, ", "))
	case len(rules) > 0 && c.field == "":
		return usageError("name it with --field", "%s: of which field?", strings.Join(rules, ", "))
	case c.given("field") && len(rules) == 0 && !c.given("lock"):
		return usageError("give a rule, for example --type=decimal", "--field=%s without a rule changes nothing", c.field)
	}
	return c.checkNames()
}

// checkNames holds every name that was given to its rule.
func (c *alteration) checkNames() error {
	if err := event.CheckEventType(c.event); c.given("event") && err != nil {
		return problem.New(problem.Malformed, "%v", err).WithHint("name one event type, for example -e admission-nc")
	}
	for flag, names := range map[string][]string{"field": {c.field}, "add": c.add, "remove": c.remove} {
		if c.given(flag) && len(names) == 0 {
			return usageError("name a field, for example crp", "--%s is empty", flag)
		}
		for _, name := range names {
			if err := event.CheckField(strings.TrimSpace(name)); c.given(flag) && err != nil {
				return problem.New(problem.Malformed, "--%s: %v", flag, err).WithHint("name fields as a letter and then letters, digits and _, for example crp")
			}
		}
	}
	return nil
}

// namedOf are those of the flags that stood on the command line, as they are written.
func (c *alteration) namedOf(flags []string) (given []string) {
	for _, name := range flags {
		if c.given(name) {
			given = append(given, "--"+name)
		}
	}
	return given
}

// apply changes the definition.
func (c *alteration) apply(d *schema.Definition) error {
	d.Fields, d.Events = maps.Clone(d.Fields), maps.Clone(d.Events)
	if d.Fields == nil {
		d.Fields = map[string]schema.Field{}
	}
	if c.given("snapshot-threshold") {
		d.SnapshotThreshold = c.threshold
	}
	if c.given("lock") && !c.given("field") {
		d.Locked = c.lock
	}
	if c.given("event") {
		if err := c.applyEvent(d); err != nil {
			return err
		}
	}
	if c.field != "" {
		return c.applyField(d)
	}
	return nil
}

func (c *alteration) applyEvent(d *schema.Definition) error {
	e, known := d.Events[c.event]
	if !known && (len(c.remove) > 0 || c.restore || c.given("required") && len(c.add) == 0) {
		return noSuchEvent(*d, c.event)
	}
	if c.restore {
		e.Removed = false
	}
	if e.Removed {
		return problem.New(problem.Invalid, "the event type %s was removed", c.event).WithHint("--restore makes it take events again")
	}
	e.Fields, e.Required = slices.Clone(e.Fields), slices.Clone(e.Required)
	for _, f := range c.add {
		if f = strings.TrimSpace(f); !slices.Contains(e.Fields, f) {
			e.Fields = append(e.Fields, f)
		}
	}
	for _, f := range c.remove {
		f = strings.TrimSpace(f)
		if !slices.Contains(e.Fields, f) {
			return problem.New(problem.NotFound, "the event type %s has no field %.80q", c.event, f).WithHint("its fields: %s", strings.Join(e.Fields, ", "))
		}
		same := func(s string) bool { return s == f }
		e.Fields, e.Required = slices.DeleteFunc(e.Fields, same), slices.DeleteFunc(e.Required, same)
	}
	if c.given("deletes") {
		e.Deletes = c.deletes
	}
	d.Events[c.event] = e
	for _, f := range c.remove {
		forgetUnused(d, strings.TrimSpace(f))
	}
	return nil
}

// forgetUnused drops the rules of a field that no event type has any more.
func forgetUnused(d *schema.Definition, field string) {
	for _, e := range d.Events {
		if slices.Contains(e.Fields, field) {
			return
		}
	}
	delete(d.Fields, field)
}

func (c *alteration) applyField(d *schema.Definition) error {
	having := c.eventsWithField(d)
	if len(having) == 0 {
		where := "no event type of " + d.Aggregate + " has"
		if c.given("event") {
			where = "the event type " + c.event + " does not have"
		}
		return problem.New(problem.NotFound, "%s the field %s", where, c.field).WithHint("add it with -e EVENT -a %s", c.field)
	}
	f := d.Fields[c.field]
	if c.given("lock") && c.given("field") {
		f.Locked = c.lock
	}
	if c.given("unique") {
		f.Unique = c.unique
	}
	if c.given("pii") {
		f.PII = c.pii
	}
	if c.given("max-length") {
		f.MaxLength = c.maxLength
	}
	if c.given("type") {
		f.Type = schema.FieldType(c.fieldType)
		if f.Type != schema.Enum {
			f.Values = nil
		}
	}
	if c.given("values") {
		f.Values = c.enumValues
	}
	if c.given("pattern") {
		f.Pattern = c.pattern
	}
	d.Fields[c.field] = f
	if c.given("required") {
		for _, name := range having {
			d.Events[name] = requiring(d.Events[name], c.field, c.required)
		}
	}
	return nil
}

func (c *alteration) eventsWithField(d *schema.Definition) (names []string) {
	for _, name := range slices.Sorted(maps.Keys(d.Events)) {
		if slices.Contains(d.Events[name].Fields, c.field) && (!c.given("event") || name == c.event) {
			names = append(names, name)
		}
	}
	return names
}

func requiring(e schema.Event, field string, required bool) schema.Event {
	e.Required = slices.DeleteFunc(slices.Clone(e.Required), func(s string) bool { return s == field })
	if required {
		e.Required = append(e.Required, field)
	}
	return e
}
