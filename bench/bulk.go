package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

const mappingText = `id: id
event: {always: changed}
fields: {amount: amount, owner: owner, text: text}
`

// bulkImport measures `eventful data:import`, a process of its own, in turns with 1024 clients of the full path on the same server.
func bulkImport(ctx context.Context, s *stage) error {
	one, err := s.site("import")
	if err != nil {
		return err
	}
	if err := one.start(ctx); err != nil {
		return err
	}
	mapping := filepath.Join(s.dir, "import", "mapping.yaml")
	if err := os.WriteFile(mapping, []byte(mappingText), 0o600); err != nil {
		return fmt.Errorf("write the mapping: %w", err)
	}
	clients := min(1024, s.aggregates)
	fleet, err := newFleet(one.door(), clients, s.connections, one.books("a", s.aggregates, s.data).commands)
	if err != nil {
		return err
	}
	defer fleet.close()
	var imported, commanded []float64
	for n := range s.rounds {
		file := filepath.Join(s.dir, "import", fmt.Sprintf("rows%d.csv", n))
		if err := s.writeRows(file, n); err != nil {
			return err
		}
		var done struct {
			Rows, Stored uint64
			PerSecond    float64 `json:"events-per-second"`
		}
		if err := one.ask(ctx, &done, "data:import", file, "--aggregate="+aggregateType, "--mapping="+mapping); err != nil {
			return err
		}
		if done.Stored != uint64(s.imported) {
			return fmt.Errorf("the import stored %d rows of %d", done.Stored, s.imported)
		}
		f, err := fleet.round(ctx, s.round)
		if err != nil {
			return err
		}
		imported, commanded = append(imported, done.PerSecond), append(commanded, f.perSecond)
	}
	s.beside("bulk import, pipelined", median(imported), "events/s", fmt.Sprintf("full path, %d clients", clients), median(commanded), atLeast(0.8))
	return nil
}

// writeRows makes the n-th CSV file, unlike all others, whose rows become commands of the benchmark's size.
func (s *stage) writeRows(path string, n int) (err error) {
	f, err := os.Create(path)
	if err != nil {
		return fmt.Errorf("write rows: %w", err)
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	w := bufio.NewWriter(f)
	fmt.Fprintln(w, "id,amount,owner,text")
	text := filler(s.payload)
	for i := range s.imported {
		fmt.Fprintf(w, "i%d,%d.%d,%s,%s\n", (i+n*s.imported)%s.aggregates, i, n, owner, text)
	}
	return w.Flush()
}
