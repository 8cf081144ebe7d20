package main

import (
	"encoding/json"
	"fmt"
	"io"
	"math"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
)

// row is one figure beside what it is held against. Of JSON lines a reader may rely on these names; what does not apply is null.
type row struct {
	Name          string   `json:"name"`
	Value         float64  `json:"value"`
	Unit          string   `json:"unit"`
	Baseline      *string  `json:"baseline"`
	BaselineValue *float64 `json:"baseline_value"`
	Ratio         *float64 `json:"ratio"`    // value / baseline_value
	Required      *string  `json:"required"` // of the ratio, or of the value where there is no baseline; null: only reported
	OK            bool     `json:"ok"`       // false: what is required was not reached
}

// limit is what a figure must reach.
type limit struct {
	atLeast bool
	bound   float64
}

func atLeast(bound float64) *limit { return &limit{true, bound} }
func below(bound float64) *limit   { return &limit{false, bound} }

func (l *limit) String() string {
	sign := "<"
	if l.atLeast {
		sign = ">="
	}
	return sign + " " + strconv.FormatFloat(l.bound, 'g', -1, 64)
}

func (l *limit) holds(v float64) bool {
	if l.atLeast {
		return v >= l.bound
	}
	return v < l.bound
}

// report collects rows and tells each as it comes.
type report struct {
	rows []row
	tell func(row)
}

// alone adds a figure without a baseline; required may be nil.
func (r *report) alone(name string, value float64, unit string, required *limit) {
	r.add(row{Name: name, Value: round(value), Unit: unit}, value, required)
}

// beside adds a figure and its baseline.
func (r *report) beside(name string, value float64, unit, baseline string, base float64, required *limit) {
	ratio, held := value/base, round(base)
	if math.IsNaN(ratio) || math.IsInf(ratio, 0) {
		ratio = 0
	}
	shown := math.Round(ratio*1000) / 1000
	r.add(row{Name: name, Value: round(value), Unit: unit, Baseline: &baseline, BaselineValue: &held, Ratio: &shown}, ratio, required)
}

func (r *report) add(one row, measured float64, required *limit) {
	one.OK = true
	if required != nil {
		text := required.String()
		one.Required, one.OK = &text, required.holds(measured)
	}
	r.rows = append(r.rows, one)
	r.tell(one)
}

// round keeps four digits: the machine gives no more.
func round(v float64) float64 {
	if v == 0 || math.IsNaN(v) || math.IsInf(v, 0) {
		return 0
	}
	scale := math.Pow(10, 3-math.Floor(math.Log10(math.Abs(v))))
	return math.Round(v*scale) / scale
}

func (r *report) failing() []string {
	var names []string
	for _, one := range r.rows {
		if !one.OK {
			names = append(names, one.Name)
		}
	}
	return names
}

func jsonLines(w io.Writer) func(row) {
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	return func(one row) { _ = e.Encode(one) } // a reader that has gone is noticed when the run ends
}

// table writes all rows for people.
func (r *report) table(w io.Writer) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "WHAT\tVALUE\tUNIT\tBESIDE\tITS VALUE\tRATIO\tMUST BE\t")
	for _, one := range r.rows {
		baseline, base, ratio, required, verdict := "", "", "", "", ""
		if one.Baseline != nil {
			baseline, base, ratio = *one.Baseline, number(*one.BaselineValue), strconv.FormatFloat(*one.Ratio, 'f', 2, 64)
		}
		if one.Required != nil {
			required, verdict = *one.Required, "ok"
		}
		if !one.OK {
			verdict = "NOT REACHED"
		}
		fmt.Fprintln(t, strings.Join([]string{one.Name, number(one.Value), one.Unit, baseline, base, ratio, required, verdict}, "\t"))
	}
	if err := t.Flush(); err != nil {
		return fmt.Errorf("write table: %w", err)
	}
	return nil
}

func number(v float64) string { return strconv.FormatFloat(v, 'f', -1, 64) }

// median of a few figures.
func median(v []float64) float64 {
	if len(v) == 0 {
		return 0
	}
	v = slices.Sorted(slices.Values(v))
	if n := len(v); n%2 == 0 {
		return (v[n/2-1] + v[n/2]) / 2
	}
	return v[len(v)/2]
}
