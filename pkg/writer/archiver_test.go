package writer_test

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/eventfuldb/eventful/pkg/event"
	"github.com/eventfuldb/eventful/pkg/problem"
)

// asked makes the call of an archiver by hand, as who holds his credential can, and gives the problem in the answer.
func (c *cluster) asked(body map[string]any) *problem.Problem {
	c.t.Helper()
	text, err := json.Marshal(body)
	if err != nil {
		c.t.Fatal(err)
	}
	for end := time.Now().Add(patience); time.Now().Before(end); {
		answer, err := c.lines.end("archiver").Call(c.t.Context(), "patient", "archive", text)
		var r struct {
			Problem *problem.Problem `json:"problem"`
			Again   bool             `json:"again"`
		}
		if err != nil || json.Unmarshal(answer, &r) != nil {
			c.t.Fatalf("got %s, %v, want an answer", answer, err)
		}
		if !r.Again {
			return r.Problem
		}
	}
	c.t.Fatal("got no answer in time")
	return nil
}

// TestAnArchiverIsNobodyElse: an archiver cannot have the log record who acted, nor a segment that is not there.
func TestAnArchiverIsNobodyElse(t *testing.T) {
	c, memory, a := newArchivedCluster(t)
	c.start("two")
	jwt := c.boss.token(100)
	for range 60 {
		c.keepAsking("patient", crp(jwt, "", "A", "1"))
	}
	segments := c.segments(memory, a, "patient")
	cut := map[string]any{"sequence": segments[0].Last, "segment": segments[0].Digest.String()}
	forged := map[string]any{"ID": "t", "Issuer": "i", "IdentifierType": "doctor", "IdentifierID": "hopper", "Aggregates": []string{"*"}, "Actions": []string{"admin"}}
	admin := c.boss.adminToken()
	for _, f := range []struct {
		name string
		body map[string]any
		want problem.Code
	}{
		{"claims of anybody", map[string]any{"v": 1, "token": forged, "archive": cut}, problem.Malformed},
		{"claims beside a token", map[string]any{"v": 1, "token": forged, "asker": admin, "archive": cut}, problem.Malformed},
		{"no token", map[string]any{"v": 1, "asker": "hopper", "archive": cut}, problem.Unauthenticated},
		{"a token that was changed", map[string]any{"v": 1, "asker": admin[:len(admin)-8] + "AAAAAAAA", "archive": cut}, problem.Unauthenticated},
		{"a token that may write", map[string]any{"v": 1, "asker": jwt, "archive": cut}, problem.Forbidden},
		{"another segment", map[string]any{"v": 1, "archive": map[string]any{"sequence": segments[0].Last, "segment": strings.Repeat("0", 64)}}, problem.Invalid},
		{"a sequence that is not archived", map[string]any{"v": 1, "archive": map[string]any{"sequence": uint64(1) << 63, "segment": segments[0].Digest.String()}}, problem.Invalid},
	} {
		if p := c.asked(f.body); p == nil || p.Code != f.want {
			t.Errorf("%s: got %v, want %s", f.name, p, f.want)
		}
	}
	if acts := c.archiveActs(); len(acts) != 0 {
		t.Fatalf("got %v recorded, want nothing", acts)
	}
	for _, asker := range []string{admin, ""} {
		if p := c.asked(map[string]any{"v": 1, "asker": asker, "archive": cut}); p != nil {
			t.Fatalf("got %v, want it recorded", p)
		}
	}
	if acts, want := strings.Join(c.archiveActs(), " "), c.boss.admin.Actor()+" policy:archive"; acts != want {
		t.Errorf("got acts of %s, want %s", acts, want)
	}
}

// archiveActs are the actors of what was recorded of archiving patients.
func (c *cluster) archiveActs() (actors []string) {
	c.t.Helper()
	for _, one := range c.boss.commits("patient") {
		if one.Aggregate == (event.AggregateID{Type: "eventful-archive", ID: "patient"}) {
			actors = append(actors, one.Actor)
		}
	}
	return actors
}
