package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"time"
)

// tampered is the version whose event is changed in the copy.
const tampered = 3

// demo is the steps, with what they counted.
type demo struct {
	*shell
	log *eventLog

	root     string // of the patient that is shown
	events   uint64 // sum of all patients' versions, as listed
	patients uint64 // listed
	verified uint64 // patients whose proof holds
	named    bool   // tampering was named with patient and version
}

func (d *demo) result() string {
	tampering := "not named"
	if d.named {
		tampering = "named"
	}
	return fmt.Sprintf("demo ok: %d events, %d patients, %d verified, tampering %s", d.events, d.patients, d.verified, tampering)
}

func (d *demo) start(ctx context.Context) error {
	var c struct {
		MasterKey string `json:"master-key"`
		DEK       string `json:"dek"`
	}
	args := command{args: []string{"config", "--generate", "--site=sepsis-demo", "--port=0", "--nats-port=0"}}
	if err := d.ask(ctx, "config.json", &c, args); err != nil {
		return err
	}
	return inOrder(
		func() error { return d.put("master.key", c.MasterKey) },
		func() error { return d.put("dek", c.DEK) },
		func() error { return d.show(ctx, "start") },
		func() error { return d.show(ctx, "status") },
	)
}

func (d *demo) schema(ctx context.Context) error {
	var key struct {
		AuthKey string `json:"auth-key"`
	}
	c := command{args: []string{"token:generate", "--auth-key"}, env: []string{"EVENTFUL_MASTER_KEY_FILE=master.key"}}
	if err := d.ask(ctx, "auth-key.json", &key, c); err != nil {
		return err
	}
	if err := d.put("auth.key", key.AuthKey); err != nil {
		return err
	}
	d.set("EVENTFUL_AUTH_KEY_FILE", "auth.key")
	return inOrder(
		func() error { return d.show(ctx, "schema:apply", "schema.yaml") },
		func() error { return d.show(ctx, "schema:migrate", "-f") },
	)
}

// tokens gives each group a token with a budget of its rows and a tenth more, and an auditor one that only reads and verifies.
func (d *demo) tokens(ctx context.Context) error {
	tokens := map[string]string{}
	for _, group := range slices.Sorted(maps.Keys(d.log.groups)) {
		budget := d.log.groups[group] + d.log.groups[group]/10 + 1
		token, err := d.token(ctx, "--limit="+strconv.Itoa(budget), "--identifierType=org-group", "--identifierId="+group, "--aggregates=patient", "--actions=write")
		if err != nil {
			return err
		}
		tokens[group] = token
	}
	text, err := json.MarshalIndent(tokens, "", "  ")
	if err == nil {
		err = d.put("tokens.json", string(text))
	}
	if err != nil {
		return err
	}
	fmt.Printf("(%d tokens are in tokens.json, by group)\n", len(tokens))
	auditor, err := d.token(ctx, "--limit=0", "--identifierType=user", "--identifierId=auditor", "--actions=read,verify")
	if err != nil {
		return err
	}
	if err := d.put("auditor.token", auditor); err != nil {
		return err
	}
	d.set("EVENTFUL_TOKEN_FILE", "auditor.token")
	return nil
}

func (d *demo) token(ctx context.Context, args ...string) (string, error) {
	var t struct {
		Token string `json:"token"`
	}
	err := d.ask(ctx, "token.json", &t, command{args: append([]string{"token:generate", "--expiration=3600"}, args...)})
	if err == nil && t.Token == "" {
		err = errors.New("no token came")
	}
	return t.Token, err
}

func (d *demo) importLog(ctx context.Context) error {
	var s struct {
		Rows     int `json:"rows"`
		Stored   int `json:"stored"`
		Rejected int `json:"rejected"`
		Left     int `json:"left"`
	}
	c := command{args: []string{"data:import", "sepsis.csv", "--format=csv", "--aggregate=patient", "--mapping=mapping.yaml", "--tokens=tokens.json"}}
	if err := d.ask(ctx, "import.json", &s, c); err != nil {
		return err
	}
	if s.Rows != d.log.rows || s.Stored != d.log.rows || s.Rejected != 0 || s.Left != 0 {
		return fmt.Errorf("the import says %+v, the CSV has %d rows", s, d.log.rows)
	}
	fmt.Printf("(%d events stored)\n", s.Stored)
	return nil
}

func (d *demo) read(ctx context.Context) error {
	patient := "patient/" + d.log.first
	return inOrder(
		func() error { return d.show(ctx, "aggregate:get", patient) },
		func() error { return d.show(ctx, "aggregate:get", patient, strconv.Itoa(tampered)) },
		func() error { return d.show(ctx, "aggregate:history", patient) },
		func() error { return d.show(ctx, "aggregate:verify", patient) },
		func() error { return d.checkPatient(ctx, patient) },
		func() error { return d.count(ctx) },
		func() error { return d.verifyAll(ctx) },
	)
}

// checkPatient compares what EventfulDB says of the patient with the CSV.
func (d *demo) checkPatient(ctx context.Context, patient string) error {
	var now, then struct {
		Version int    `json:"version"`
		Root    string `json:"root"`
	}
	var history []struct {
		Version    int       `json:"version"`
		Actor      string    `json:"actor"`
		OccurredAt time.Time `json:"occurred-at"`
	}
	err := inOrder(
		func() error { return d.ask(ctx, "now.json", &now, command{args: []string{"aggregate:get", patient}}) },
		func() error {
			return d.ask(ctx, "then.json", &then, command{args: []string{"aggregate:get", patient, strconv.Itoa(tampered)}})
		},
		func() error {
			return d.ask(ctx, "history.json", &history, command{args: []string{"aggregate:history", patient}})
		},
	)
	if err != nil {
		return err
	}
	rows := d.log.patients[d.log.first]
	if now.Version != len(rows) || then.Version != tampered || len(history) != len(rows) || now.Root == "" {
		return fmt.Errorf("%s is at version %d, then at %d, with %d events and root %q; the CSV has %d rows", patient, now.Version, then.Version, len(history), now.Root, len(rows))
	}
	for i, e := range history {
		if e.Version != i+1 || e.Actor != "org-group:"+rows[i].group || !e.OccurredAt.Equal(rows[i].occurred) {
			return fmt.Errorf("event %d of %s is %+v, the CSV says %+v", i+1, patient, e, rows[i])
		}
	}
	d.root = now.Root
	return nil
}

// count counts patients and events in the list of patients.
func (d *demo) count(ctx context.Context) error {
	var list struct {
		Aggregates []struct {
			ID      string `json:"id"`
			Version uint64 `json:"version"`
		} `json:"aggregates"`
	}
	if err := d.ask(ctx, "patients.json", &list, command{args: []string{"aggregate:list", "patient", "--all"}}); err != nil {
		return err
	}
	for _, p := range list.Aggregates {
		if rows := uint64(len(d.log.patients[p.ID])); p.Version != rows {
			return fmt.Errorf("patient/%s has %d events, the CSV has %d", p.ID, p.Version, rows)
		}
		d.patients++
		d.events += p.Version
	}
	if d.patients != uint64(len(d.log.patients)) || d.events != uint64(d.log.rows) {
		return fmt.Errorf("%d patients with %d events are listed, the CSV has %d with %d", d.patients, d.events, len(d.log.patients), d.log.rows)
	}
	return nil
}

// report is what aggregate:verify says of many aggregates.
type report struct {
	Aggregates uint64 `json:"aggregates"`
	Events     uint64 `json:"events"`
	Failed     []struct {
		Type    string `json:"type"`
		ID      string `json:"id"`
		Version uint64 `json:"version"`
		Verdict string `json:"verdict"`
	} `json:"failed"`
}

func (d *demo) verifyAll(ctx context.Context) error {
	var patients report
	err := inOrder(
		func() error { return d.show(ctx, "aggregate:verify", "--all") },
		func() error {
			return d.ask(ctx, "verify.json", &patients, command{args: []string{"aggregate:verify", "--type=patient"}})
		},
	)
	if err != nil {
		return err
	}
	if len(patients.Failed) != 0 || patients.Aggregates != d.patients || patients.Events != d.events {
		return fmt.Errorf("verify says %+v, there are %d patients with %d events", patients, d.patients, d.events)
	}
	d.verified = patients.Aggregates
	return nil
}

// confirm lets the Python program, which was written from the specification alone, confirm one patient.
func (d *demo) confirm(ctx context.Context) error {
	if _, err := d.run(ctx, command{args: []string{"eventful", "aggregate:export", "patient/" + d.log.first}, to: "patient.json"}); err != nil {
		return err
	}
	if _, err := exec.LookPath("python3"); err != nil {
		if os.Getenv("REQUIRE_PYTHON") == "1" {
			return errors.New("REQUIRE_PYTHON=1 and there is no python3")
		}
		fmt.Println("(there is no python3 here, so the independent verifier is left out)")
		return nil
	}
	out, err := d.run(ctx, command{args: []string{"python3", filepath.Join(d.repository, "docs", "spec", "verify.py"), "patient.json"}})
	if err != nil {
		return err
	}
	if !bytes.Contains(out, []byte(d.root)) {
		return fmt.Errorf("the Python verifier does not name the root %s", d.root)
	}
	return nil
}

func (d *demo) tamper(ctx context.Context) error {
	if row := d.log.patients[d.log.first][tampered-1]; !row.filled {
		return fmt.Errorf("version %d of patient/%s has no field that could be changed", tampered, d.log.first)
	}
	fmt.Println("(tamper is a small program, built here with: go build -o bin/tamper ./examples/tamper)")
	return inOrder(
		func() error { return d.show(ctx, "stop") },
		func() error { return d.other(ctx, "cp", "-Rp", ".eventful", "copy") },
		func() error { d.set("EVENTFUL_DEK_FILE", "dek"); return nil },
		func() error {
			return d.show(ctx, "start", "--data-dir=copy", "--no-engines", "--port=0", "--nats-port=0")
		},
		func() error {
			return d.other(ctx, "tamper", "--data-dir=copy", "--type=patient", "--id="+d.log.first, "--version="+strconv.Itoa(tampered), "--i-know-this-destroys-the-copy")
		},
		func() error { return d.show(ctx, "stop", "--data-dir=copy") },
		func() error { return d.show(ctx, "start", "--data-dir=copy", "--port=0", "--nats-port=0") },
		func() error { return d.findTampering(ctx) },
		func() error { return d.show(ctx, "stop", "--data-dir=copy") },
	)
}

// findTampering expects exit status 7, and the patient and the version by name.
func (d *demo) findTampering(ctx context.Context) error {
	verify := []string{"aggregate:verify", "--all", "--data-dir=copy"}
	if _, err := d.run(ctx, command{args: append([]string{"eventful"}, verify...), status: 7}); err != nil {
		return err
	}
	var r report
	if err := d.ask(ctx, "tampered.json", &r, command{args: verify, status: 7}); err != nil {
		return err
	}
	for _, f := range r.Failed {
		d.named = d.named || f.Type == "patient" && f.ID == d.log.first && f.Version == tampered
	}
	if !d.named {
		return fmt.Errorf("verify names %+v, the change is in patient/%s at version %d", r.Failed, d.log.first, tampered)
	}
	return nil
}
