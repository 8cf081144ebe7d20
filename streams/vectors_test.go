package streams_test

import (
	"encoding/hex"
	"encoding/json"
	"os"
	"strings"
	"testing"

	"github.com/eventfuldb/eventful/pkg/event"
	"github.com/eventfuldb/eventful/streams"
)

// subjectVector is one entry of docs/spec/vectors/subjects.json.
type subjectVector struct {
	Name, Kind, Text, Hex string
	OK                    bool
	Type, ID, Event, Verb string
	IDHex                 string `json:"id_hex"`
}

func (v subjectVector) input(t *testing.T) string { return v.Text + unhex(t, v.Hex) }

func unhex(t *testing.T, s string) string {
	t.Helper()
	b, err := hex.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// parts is what a subject is read as.
type parts struct{ Type, ID, Event, Verb string }

func TestSubjectVectors(t *testing.T) {
	raw, err := os.ReadFile("../docs/spec/vectors/subjects.json")
	if err != nil {
		t.Fatal(err)
	}
	var vectors []subjectVector
	if err := json.Unmarshal(raw, &vectors); err != nil || len(vectors) == 0 {
		t.Fatalf("read vectors: got %d, %v", len(vectors), err)
	}
	for _, v := range vectors {
		t.Run(v.Name, func(t *testing.T) {
			in, want := v.input(t), parts{v.Type, v.ID + unhex(t, v.IDHex), v.Event, v.Verb}
			got, back, err := readSubject(t, v.Kind, in)
			switch {
			case !v.OK:
				if err == nil {
					t.Errorf("%q: got %+v, want an error", in, got)
				}
			case err != nil || got != want:
				t.Errorf("%q: got %+v, %v, want %+v", in, got, err, want)
			case back != in:
				t.Errorf("%q: formed back, got %q", in, back)
			}
		})
	}
}

// readSubject parses in and forms it back.
func readSubject(t *testing.T, kind, in string) (p parts, back string, err error) {
	t.Helper()
	var a event.AggregateID
	switch kind {
	case "escape":
		p.ID, err = streams.Unescape(in)
		return p, streams.Escape(p.ID), err
	case "command":
		if a, p.Event, err = streams.ParseCommandSubject(in); err == nil {
			back, err = streams.CommandSubject(a, p.Event)
		}
	case "transaction": // only ever formed
		a.Type, _ = strings.CutPrefix(in, "cmd.")
		if back, err = streams.TransactionSubject(a.Type); err == nil && back != in {
			err = os.ErrInvalid
		}
	case "query":
		if a, p.Verb, err = streams.ParseQuerySubject(in); err != nil {
			break
		}
		if a.ID == "" {
			back, err = streams.TypeQuerySubject(a.Type, p.Verb)
		} else {
			back, err = streams.QuerySubject(a, p.Verb)
		}
	case "aggregate":
		a, err = streams.ParseAggregate(in)
		back = a.String()
	default:
		t.Fatalf("kind %q is unknown", kind)
	}
	p.Type, p.ID = a.Type, a.ID
	return p, back, err
}
