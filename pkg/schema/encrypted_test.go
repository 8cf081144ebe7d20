package schema_test

import (
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/eventfuldb/eventful/pkg/event"
	"github.com/eventfuldb/eventful/pkg/schema"
)

const canonicalSecret = `{"aggregate":"person","log":"person","fields":{"email":{"type":"email","unique":true,"pii":true},"name":{"type":"string","max-length":4,"pii":true},"ward":{"type":"string"}},` +
	`"events":{"came":{"fields":["email","name","ward"]}}}`

func secret(t *testing.T) *schema.Schema {
	t.Helper()
	defs, err := schema.Parse([]byte(canonicalSecret))
	if err != nil || len(defs) != 1 {
		t.Fatalf("got %v, %v", defs, err)
	}
	if got := string(defs[0].Canonical()); got != canonicalSecret {
		t.Fatalf("canonical form, which is stored and never changes: got %s", got)
	}
	return compile(t, defs[0])
}

func TestEncryptedFields(t *testing.T) {
	s := secret(t)
	if got := s.EncryptedFields(); !slices.Equal(got, []string{"email", "name"}) {
		t.Errorf("got %v, want email and name", got)
	}
	if got := compile(t, patient()).EncryptedFields(); got != nil {
		t.Errorf("got %v, want none", got)
	}
	if p := s.CheckEvent("came", []event.Field{{Name: "name", Value: "too long", Set: true}}); len(p) != 1 {
		t.Errorf("the text: got %v, want its length refused", p)
	}
	sealed := (&event.SealedValue{Nonce: make([]byte, event.SealedNonceLen), Ciphertext: make([]byte, 99)}).String()
	if p := s.CheckStored("came", []event.Field{{Name: "email", Value: sealed, Set: true, Sealed: true}, {Name: "name", Value: sealed, Set: true, Sealed: true}}); len(p) != 0 {
		t.Errorf("a stored sealed value: got %v, want it accepted", p)
	}
	if _, err := schema.Parse([]byte(`{"aggregate":"x","fields":{"a":{"pii":"yes"}},"events":{"e":{"fields":["a"]}}}`)); err == nil {
		t.Error("pii as a text was accepted")
	}
}

func TestEncryptingIsAChange(t *testing.T) {
	s := secret(t)
	plain := s.Definition
	plain.Fields = map[string]schema.Field{"email": s.Fields["email"], "name": {Type: schema.String, MaxLength: 4}, "ward": s.Fields["ward"]}
	want := []schema.Change{{Text: "field name is encrypted in new events; stored events stay as they are", Compatible: true}}
	if diff := cmp.Diff(want, schema.Diff(compile(t, plain), s.Definition)); diff != "" {
		t.Errorf("on (-want +got):\n%s", diff)
	}
	want[0].Text = "field name is no longer encrypted in new events; stored events stay as they are"
	if diff := cmp.Diff(want, schema.Diff(s, plain)); diff != "" {
		t.Errorf("off (-want +got):\n%s", diff)
	}
}
