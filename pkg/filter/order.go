package filter

import (
	"strconv"
	"strings"
	"time"

	"github.com/eventfuldb/eventful/pkg/problem"
	"github.com/eventfuldb/eventful/pkg/schema"
)

// MaxOrder is the number of fields that an order has at most.
const MaxOrder = 8

// Order is how aggregates are sorted: by fields, each ascending, or descending where a - stands before it. Aggregates that have no value, or one that is not of
// its type, come last. Of long values the first 256 bytes or digits count.
type Order struct {
	text string
	by   []sortKey
}

type sortKey struct {
	operand
	descending bool
}

// String is the order as it was given.
func (o *Order) String() string { return o.text }

// ParseOrder reads an order: names of fields, or $id, $version, $time, $deleted, separated by commas.
func ParseOrder(text string, fields map[string]schema.Field) (*Order, error) {
	o := &Order{text: text}
	for name := range strings.SplitSeq(text, ",") {
		name, descending := strings.CutPrefix(strings.TrimSpace(name), "-")
		if known, ok := common[name]; ok {
			o.by = append(o.by, sortKey{known, descending})
			continue
		}
		f, ok := fields[name]
		switch {
		case !ok:
			return nil, problem.New(problem.Malformed, "there is no field %.70q to sort by", name).WithHint("there are %s, and $id, $version, $time, $deleted; - before one turns it round", names(fields))
		case f.PII:
			return nil, problem.New(problem.Malformed, "the field %s is encrypted: nothing can be sorted by it", name).WithHint("sort by another field")
		}
		o.by = append(o.by, sortKey{operand{name: name, field: name, kind: f.Type, get: func(r *Row) (string, bool) { return r.Field(name) }}, descending})
	}
	if len(o.by) > MaxOrder {
		return nil, problem.New(problem.Malformed, "the order has %d fields, at most %d are allowed", len(o.by), MaxOrder)
	}
	return o, nil
}

// Key is what an aggregate is sorted by: a value, or none, for each field.
type Key []Value

// Value is one of them. Set is false where there is none, or it is not of its type.
type Value struct {
	Text string
	Set  bool
}

// Key gives what an aggregate is sorted by.
func (o *Order) Key(r *Row) Key {
	k := make(Key, len(o.by))
	for i := range o.by {
		text, ok := o.by[i].get(r)
		if _, fits := comparing(o.by[i].kind)(text, text); ok && fits {
			k[i] = Value{shortened(o.by[i].kind, text), true}
		}
	}
	return k
}

// keyBytes is how much of a value counts for the order, about: keys are kept for a whole page, and values may have a MiB.
const keyBytes = 256

// shortened cuts a value to what counts for the order: of a number the digits behind the first ones, of an instant those of its fraction.
func shortened(kind schema.FieldType, text string) string {
	if len(text) <= keyBytes {
		return text
	}
	switch kind {
	case schema.Integer, schema.Decimal:
		n, _ := parseNumber(text) // it was compared as one
		n.digits = n.digits[:min(len(n.digits), keyBytes)]
		if n.digits == "" {
			return "0"
		}
		sign := ""
		if n.negative {
			sign = "-"
		}
		return sign + "0." + n.digits + "e" + strconv.FormatInt(n.exponent, 10)
	case schema.DateTime:
		i, _ := parseInstant(text)
		at := time.Unix(i.second, 0).UTC().Format("2006-01-02T15:04:05")
		if i.fraction = i.fraction[:min(len(i.fraction), keyBytes)]; i.fraction != "" {
			at += "." + i.fraction
		}
		return at + "Z"
	}
	return text[:keyBytes]
}

// Compare orders two keys of this order.
func (o *Order) Compare(a, b Key) int {
	for i := range o.by {
		switch {
		case !a[i].Set && !b[i].Set:
			continue
		case !a[i].Set:
			return 1
		case !b[i].Set:
			return -1
		}
		c, _ := comparing(o.by[i].kind)(a[i].Text, b[i].Text)
		if o.by[i].descending {
			c = -c
		}
		if c != 0 {
			return c
		}
	}
	return 0
}
