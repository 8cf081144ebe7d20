package main

import (
	"regexp"
	"testing"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// A back-quoted part of a flag's text becomes the name of its value in help, so it must be one plain word.
func TestFlagTextsNameTheirValues(t *testing.T) {
	word := regexp.MustCompile(`^[A-Za-z]*$`)
	var walk func(cmd *cobra.Command)
	walk = func(cmd *cobra.Command) {
		cmd.LocalFlags().VisitAll(func(f *pflag.Flag) {
			name, text := pflag.UnquoteUsage(f)
			if !word.MatchString(name) || name == "long" || regexp.MustCompile("`").MatchString(text) || f.Value.Type() == "bool" && name != "" {
				t.Errorf("%s --%s: its value is called %q in %q", cmd.Name(), f.Name, name, f.Usage)
			}
		})
		for _, child := range cmd.Commands() {
			walk(child)
		}
	}
	walk(newRootCommand(&app{}))
}
