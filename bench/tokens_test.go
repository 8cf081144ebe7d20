package main

import (
	"os"
	"testing"
)

// The scene token-check changes the text of pkg/writer: it has to be what is expected there.
func TestSwitchFits(t *testing.T) {
	text, err := os.ReadFile("../pkg/writer/writer.go")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := withSwitch(string(text)); err != nil {
		t.Error(err)
	}
}
