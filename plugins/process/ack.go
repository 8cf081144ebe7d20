package process

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/rs/zerolog"

	"github.com/eventfuldb/eventful/pkg/plugin"
)

// wanted says what a program has to print.
const wanted = `each line of its standard output must be an acknowledgement, {"id": the change's id, "status": "done"}, and what is for people belongs on standard error (docs/plugins-process.md)`

// ack is a line of the child.
type ack struct {
	ID     string `json:"id"`
	Status string `json:"status"`
	Error  string `json:"error"`
}

func (a ack) outcome() plugin.Outcome {
	why := errors.New("the program gave no error")
	if a.Error != "" {
		why = errors.New(a.Error)
	}
	switch a.Status {
	case "done":
		return plugin.Done()
	case "park":
		return plugin.Park(why)
	}
	return plugin.Retry(why)
}

// readAcks passes acknowledgements on until the child's output ends, or holds what is none.
func (c *child) readAcks(out io.Reader) error {
	lines := bufio.NewReaderSize(out, MaxLine)
	for {
		line, err := lines.ReadSlice('\n')
		if errors.Is(err, bufio.ErrBufferFull) {
			return fmt.Errorf("the program printed a line of more than %d bytes; %s", MaxLine, wanted)
		}
		if err != nil {
			return errSilent
		}
		var a ack
		if err := json.Unmarshal(line, &a); err != nil {
			return errors.New("the program printed a line that is no JSON object; " + wanted)
		}
		if a.Status != "done" && a.Status != "retry" && a.Status != "park" {
			return fmt.Errorf("the program printed a line with the status %.40q, which is neither done, retry nor park; %s", a.Status, wanted)
		}
		c.mu.Lock()
		to := c.waiting[a.ID]
		if to == nil {
			c.unasked = a.ID
		}
		c.mu.Unlock()
		if to == nil {
			continue // nobody waits for it any more, or ever did
		}
		select {
		case to <- a:
		default: // a repeat
		}
	}
}

// others tells of what was acknowledged and never asked for.
func (c *child) others() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.unasked == "" {
		return ""
	}
	return fmt.Sprintf(", and acknowledged %.70q, which nobody waits for; an acknowledgement has the id of its change", c.unasked)
}

// relay puts what the child says to people into the log, a line at a time.
func relay(words io.Reader, log zerolog.Logger) {
	lines := bufio.NewReaderSize(words, 8<<10)
	for {
		line, err := lines.ReadSlice('\n')
		if n := len(line); n > 0 {
			log.Info().Str("line", strings.TrimRight(string(line[:min(n, 2000)]), "\r\n")).Msg("program of the plugin said")
		}
		if err != nil && !errors.Is(err, bufio.ErrBufferFull) {
			return
		}
	}
}
