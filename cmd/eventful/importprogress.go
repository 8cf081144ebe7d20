package main

import (
	"fmt"
	"io"
	"os"
	"time"

	"github.com/schollz/progressbar/v3"
	"golang.org/x/term"

	"github.com/eventfuldb/eventful/pkg/importer"
)

// lineEvery is how often progress is printed where there is no terminal.
const lineEvery = 2 * time.Second

// importProgress shows how far an import is: a bar on a terminal, plain lines elsewhere. It is for one goroutine.
type importProgress struct {
	out  io.Writer
	bar  *progressbar.ProgressBar // nil: no terminal
	next time.Time
}

func (a *app) newImportProgress(rows uint64) *importProgress {
	p := &importProgress{out: a.errOut, next: time.Now().Add(lineEvery)}
	if a.errOut == io.Writer(os.Stderr) && term.IsTerminal(int(os.Stderr.Fd())) {
		p.bar = progressbar.NewOptions64(int64(rows),
			progressbar.OptionSetWriter(a.errOut), progressbar.OptionSetDescription("importing"), progressbar.OptionFullWidth(),
			progressbar.OptionShowCount(), progressbar.OptionSetPredictTime(true),
		)
	}
	return p
}

func (p *importProgress) report(s importer.Summary) {
	settled := s.Total - s.Left
	switch {
	case p.bar != nil:
		// The bar's own rate counts rows that were skipped, and starts with its first update.
		p.bar.Describe(fmt.Sprintf("importing, %.0f events/s", s.PerSecond))
		_ = p.bar.Set64(int64(settled)) // a terminal that takes no more is no reason to stop
	case settled == s.Total || time.Now().After(p.next):
		p.next = time.Now().Add(lineEvery)
		fmt.Fprintf(p.out, "importing: %d of %d rows (%d %%), %.0f events/s, %d rejected\n", settled, s.Total, 100*settled/max(1, s.Total), s.PerSecond, s.Rejected)
	}
}

// end leaves the bar's line.
func (p *importProgress) end() {
	if p.bar != nil {
		fmt.Fprintln(p.out)
	}
}
