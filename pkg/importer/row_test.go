package importer_test

import (
	"strings"
	"testing"
	"testing/synctest"

	"github.com/google/go-cmp/cmp"

	"github.com/eventfuldb/eventful/pkg/event"
	"github.com/eventfuldb/eventful/pkg/importer"
)

// send imports the content and gives the commands by row and the rejects by row.
func send(t *testing.T, format importer.Format, mapping, content string) (map[uint64]*importer.Command, map[uint64]string) {
	t.Helper()
	m, err := importer.ParseMapping([]byte(mapping))
	if err != nil {
		t.Fatalf("mapping: %s", details(err))
	}
	commands, rejects := map[uint64]*importer.Command{}, map[uint64]string{}
	synctest.Test(t, func(t *testing.T) {
		s := newFakeServer(t)
		_, err := importer.Run(t.Context(), importer.Config{
			Server: s, File: open(t, format, content), Mapping: m, Aggregate: "patient",
			Rejected: func(r importer.Reject) error { rejects[r.Row] = r.Reason; return nil },
		})
		if err != nil {
			t.Errorf("import: %v", err)
		}
		for _, c := range s.stored {
			commands[c.Row] = c
		}
	})
	return commands, rejects
}

func set(name, value string) event.Field { return event.Field{Name: name, Value: value, Set: true} }

func TestFieldsOfNDJSON(t *testing.T) {
	commands, rejects := send(t, importer.NDJSON, "id: id\nevent: {always: x}\nfields: {n: n, m: {field: m, omit: []}}\n", strings.Join([]string{
		`{"id":1,"n":1.10,"m":9007199254740993}`,
		`{"id":"A","n":1e400,"m":null,"other":{"a":[1]}}`,
		`  {"id":"A","n":true,"m":""}`,
		``,
		`{"id":"A","n":null}`,
		`{"id":"A","n":"\ud83d\ude00 \\ud800"}`,
		`{"id":"A","n":[1]}`,
		`{"id":"A","id":"B"}`,
		`{"id":"A","n":"\ud800"}`,
		`{"id":"A"} x`,
		`["A"]`,
		`{"id":{}}`,
		`{"n":1}`,
		"{\"id\":\"\xff\"}",
		`{"id":"A","n":01}`,
		`{"id":"A","n":`,
		`{"id":"A"}`,
	}, "\n"))
	for row, want := range map[uint64][]event.Field{
		1:  {set("n", "1.10"), set("m", "9007199254740993")},
		2:  {set("n", "1e400"), {Name: "m"}},
		3:  {set("n", "true"), set("m", "")},
		4:  nil,
		5:  {set("n", "\U0001F600 \\ud800")},
		16: nil,
	} {
		c := commands[row]
		if c == nil {
			t.Errorf("row %d was not stored: %s", row, rejects[row])
			continue
		}
		if diff := cmp.Diff(want, c.Fields); diff != "" {
			t.Errorf("fields of row %d (-want +got):\n%s", row, diff)
		}
	}
	for row, want := range map[uint64]string{
		6: `column "n" holds an object`, 7: "stands twice", 8: "lone surrogate", 9: "behind the JSON object", 10: "not a JSON object",
		11: `column "id" holds an object`, 12: `column "id": aggregate id`, 13: "not valid UTF-8", 14: "line 15", 15: "line 16",
	} {
		if got := rejects[row]; !strings.Contains(got, want) {
			t.Errorf("reject of row %d: got %q, want %q", row, got, want)
		}
	}
}

func TestFieldsOfCSV(t *testing.T) {
	commands, rejects := send(t, importer.CSV, `
id: id
event: { column: event }
occurred-at: { column: at, layout: "02.01.2006 15:04", zone: Europe/Amsterdam }
fields:
  a: { field: a, values: { "True": "true", "False": "false" } }
  b: { field: b, values: { "True": "true", "False": "false" }, omit: [empty, false] }
  c: { field: c, omit: [] }
`, "\ufeffid,event,at,a,b,c\r\n"+
		"A,x,22.10.2014 11:15,True,True,\"c\"\"d\r\ne\"\r\n"+
		"A,x,,False,False,\r\n"+
		"A,x,31.02.2014 11:15,,,\r\n"+
		"A,x,,yes,,\r\n"+
		"A,X,,,,\r\n"+
		"e\u0301,x,,,,\r\n"+
		"A,x,22.10.1600 11:15,,,\r\n"+
		"A,x,,\xff,,\r\n")
	amsterdam := event.Time(1413969300_000000000) // 2014-10-22T11:15+02:00
	for row, want := range map[uint64]*importer.Command{
		1: {OccurredAt: &amsterdam, Fields: []event.Field{set("a", "true"), set("b", "true"), set("c", "c\"d\ne")}},
		2: {Fields: []event.Field{set("a", "false"), set("c", "")}},
	} {
		c := commands[row]
		if c == nil {
			t.Fatalf("row %d was not stored: %s", row, rejects[row])
		}
		if diff := cmp.Diff(want, &importer.Command{OccurredAt: c.OccurredAt, Fields: c.Fields}); diff != "" {
			t.Errorf("row %d (-want +got):\n%s", row, diff)
		}
	}
	for row, want := range map[uint64]string{
		3: "is no time of the layout", 4: "not among the values", 5: `event type "X"`, 6: "normalisation form C", 7: "out of range", 8: "not valid UTF-8",
	} {
		if got := rejects[row]; !strings.Contains(got, want) {
			t.Errorf("reject of row %d: got %q, want %q", row, got, want)
		}
	}
}

func TestNamedLayouts(t *testing.T) {
	for layout, cell := range map[string]string{"rfc3339": "2014-10-22T11:15:41.5+02:00", "unix": "1413969341", "unix-ms": "1413969341500", "2006-01-02 15:04:05-07:00": "2014-10-22 09:15:41+00:00"} {
		commands, rejects := send(t, importer.CSV, "id: id\nevent: {always: x}\noccurred-at: {column: at, layout: \""+layout+"\"}\n", "id,at\nA,"+cell+"\n")
		if c := commands[1]; c == nil || int64(*c.OccurredAt)/1e9 != 1413969341 {
			t.Errorf("layout %s: got %v, rejects %v, want second 1413969341", layout, c, rejects)
		}
	}
}

func TestRejectFile(t *testing.T) {
	path := write(t, "rejects", "of an earlier run\n")
	f := importer.NewRejectFile(path)
	if err := f.Write(importer.Reject{Line: 3, Row: 2, Code: "invalid", Reason: "no"}); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	if got, want := read(t, path), `{"line":3,"row":2,"code":"invalid","reason":"no"}`+"\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if err := importer.NewRejectFile(path).Close(); err != nil || read(t, path) != "" {
		t.Errorf("after a run without rejects: got %q, %v, want an empty file", read(t, path), err)
	}
}
