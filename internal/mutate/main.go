// Command mutate takes promises out of the code, one after the other, and shows that the tests notice.
//
// It works in a copy of the tree. First the named tests have to pass there as it is; then each row of the table is applied alone and each of its
// suites has to fail. It prints a table and ends with status 1 if a mutant survived, or if a row does not fit the code any more.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"strings"
	"text/tabwriter"
	"time"
)

func main() {
	only := flag.String("only", "", "names of mutants, with commas between them; empty: all")
	list := flag.Bool("list", false, "name the mutants, hold their texts against the code, and run nothing")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, *only, *list); err != nil {
		fmt.Fprintln(os.Stderr, "mutate:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, only string, list bool) error {
	chosen, err := choose(only)
	if err != nil {
		return err
	}
	root, err := moduleRoot()
	if err != nil {
		return err
	}
	if err := fit(root, chosen); err != nil {
		return err
	}
	if list {
		for _, m := range chosen {
			fmt.Printf("%-16s %s\n", m.name, m.off)
		}
		return nil
	}
	t, err := copyTree(root)
	if err != nil {
		return err
	}
	defer t.remove()
	if err := t.sound(ctx, chosen); err != nil {
		return err
	}
	out := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(out, "MUTANT\tWHAT IS OFF\tTESTS\tRESULT\tSECONDS")
	survived := 0
	for _, m := range chosen {
		results, err := t.try(ctx, m)
		if err != nil {
			return err
		}
		for _, r := range results {
			if !r.failed {
				survived++
			}
			fmt.Fprintf(out, "%s\t%s\t%s\t%s\t%.0f\n", m.name, m.off, r.suite, r, r.took.Seconds())
			_ = out.Flush() // standard output
		}
	}
	if survived > 0 {
		return fmt.Errorf("%d suites did not notice", survived)
	}
	return nil
}

func choose(only string) ([]mutant, error) {
	all := mutants()
	if only == "" {
		return all, nil
	}
	var chosen []mutant
	for name := range strings.SplitSeq(only, ",") {
		i := slices.IndexFunc(all, func(m mutant) bool { return m.name == name })
		if i < 0 {
			return nil, fmt.Errorf("there is no mutant %q; -list names them", name)
		}
		chosen = append(chosen, all[i])
	}
	return chosen, nil
}

// result is how a suite took a mutant.
type result struct {
	suite
	failed bool
	took   time.Duration
}

func (r result) String() string {
	if r.failed {
		return "noticed"
	}
	return "SURVIVED"
}

func (s suite) String() string { return s.pkg + " " + s.run }
