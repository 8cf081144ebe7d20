package problem_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"regexp"
	"strconv"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/eventfuldb/eventful/pkg/problem"
)

var codes = []problem.Code{
	problem.Malformed, problem.Invalid, problem.TooLarge, problem.Unauthenticated, problem.Forbidden, problem.BudgetSpent, problem.NotFound,
	problem.Conflict, problem.CommandIDReused, problem.Locked, problem.Unavailable, problem.NoSpace, problem.UnknownOutcome, problem.Damaged,
	problem.VerificationFailed, problem.Internal,
}

// The table of codes is that of docs/spec/commands.md, section 6, row by row.
func TestTableIsTheSpec(t *testing.T) {
	raw, err := os.ReadFile("../../docs/spec/commands.md")
	if err != nil {
		t.Fatal(err)
	}
	type row struct{ Status, Exit int }
	want, got := map[problem.Code]row{}, map[problem.Code]row{}
	for _, m := range regexp.MustCompile("(?m)^\\| `([a-z_]+)` \\| ([0-9]{3}) \\| ([0-9]) \\|").FindAllStringSubmatch(string(raw), -1) {
		status, _ := strconv.Atoi(m[2])
		exit, _ := strconv.Atoi(m[3])
		want[problem.Code(m[1])] = row{status, exit}
	}
	for _, code := range codes {
		p := problem.New(code, "detail")
		got[code] = row{p.Status, p.ExitStatus()}
		if p.Title == "" {
			t.Errorf("%s has no title", code)
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("table of codes (-spec +got):\n%s", diff)
	}
}

func TestErrorsAreTold(t *testing.T) {
	p := problem.New(problem.Conflict, "patient/%s has version %d", "A", 4).WithHint("read it, then send version %d", 4)
	if got, want := p.Error(), "it does not fit what is stored: patient/A has version 4"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if got, want := p.Hint, "read it, then send version 4"; got != want {
		t.Errorf("hint: got %q, want %q", got, want)
	}
	wrapped := fmt.Errorf("append: %w", p)
	if !errors.Is(wrapped, &problem.Problem{Code: problem.Conflict}) {
		t.Error("errors.Is does not find the code of a wrapped problem")
	}
	if errors.Is(wrapped, &problem.Problem{Code: problem.Locked}) || errors.Is(p, errors.New("another")) {
		t.Error("errors.Is finds what is not there")
	}
	if got := problem.From(wrapped); got != p {
		t.Errorf("From: got %v, want the problem that was wrapped", got)
	}
	if got := problem.From(errors.New("disk on fire")); got.Code != problem.Internal || got.Detail != "disk on fire" {
		t.Errorf("From another error: got %+v, want internal with its text", got)
	}
}

func TestJoin(t *testing.T) {
	one, two := problem.New(problem.Invalid, "first").WithHint("do this"), problem.New(problem.TooLarge, "second")
	if got := problem.Join(nil); got != nil {
		t.Errorf("no problem: got %v, want nil", got)
	}
	if got := problem.Join([]*problem.Problem{one}); got != one {
		t.Errorf("one problem: got %v, want itself", got)
	}
	both := problem.Join([]*problem.Problem{one, two})
	if both.Code != problem.Invalid || both.Status != one.Status || both.Hint != "do this" {
		t.Errorf("two problems: got %+v, want code, status and hint of the first", both)
	}
	if diff := cmp.Diff([]*problem.Problem{one, two}, both.Problems); diff != "" {
		t.Errorf("listed problems (-want +got):\n%s", diff)
	}
}

func TestOverTheWire(t *testing.T) {
	p := problem.Join([]*problem.Problem{problem.New(problem.Conflict, "a"), problem.New(problem.Invalid, "b").WithHint("c")})
	p.Field, p.Expected, p.Actual = "crp", "3", "4"
	p.Between = []problem.Between{{Version: 4, Event: "crp", Actor: "user:ada", Hash: "00"}}
	body, err := json.Marshal(p)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(p, problem.Decode(body)); diff != "" {
		t.Errorf("read back (-want +got):\n%s", diff)
	}
	for _, body := range []string{"", "{", "[]", `{"code":"melted","detail":"x"}`, `{}`} {
		if got := problem.Decode([]byte(body)); got.Code != problem.Internal {
			t.Errorf("%q: got %s, want internal", body, got.Code)
		}
	}
}

func TestUnknownCode(t *testing.T) {
	if got := (&problem.Problem{Code: "melted"}).ExitStatus(); got != 1 {
		t.Errorf("exit status of an unknown code: got %d, want 1", got)
	}
	defer func() {
		if recover() == nil {
			t.Error("New with an unknown code: got a problem, want a panic")
		}
	}()
	problem.New("melted", "x")
}
