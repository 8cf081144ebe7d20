package client

import "context"

// Writers is who writes what: the writer processes of a site, and each of its logs.
type Writers struct {
	Members []WriterMember `json:"members"`
	Logs    []WriterLog    `json:"logs"`
}

// WriterMember is one writer process.
type WriterMember struct {
	ID      string `json:"id"`
	Name    string `json:"name"`
	Host    string `json:"host"`
	PID     int    `json:"pid"`
	Version string `json:"version"`
	Leads   int    `json:"leads"`  // logs that it writes
	Silent  bool   `json:"silent"` // it did not say how far it is
	// Refusing is why it refuses the commands of its logs, as its disk is nearly full, or would: those go to members that have room. Empty: it does not.
	Refusing string `json:"refusing,omitempty"`
}

// WriterLog is one log with who writes it and who follows it.
type WriterLog struct {
	Log      string          `json:"log"`
	State    string          `json:"state"`    // free, taking, serving or leaving
	Member   string          `json:"member"`   // id of who writes it
	Epoch    uint64          `json:"epoch"`    // goes up whenever the log is taken over
	Sequence uint64          `json:"sequence"` // of its newest block
	Standbys []WriterStandby `json:"standbys"`
}

// WriterStandby is how far a process follows a log that another one writes.
type WriterStandby struct {
	Member   string `json:"member"`
	Sequence uint64 `json:"sequence"`
	Lag      uint64 `json:"lag"` // blocks
	Error    string `json:"error"`
}

// Writers asks which process writes which log. It needs the right to administer.
func (c *Client) Writers(ctx context.Context) (*Writers, error) {
	w := &Writers{}
	return w, c.act(ctx, "writer", "list", struct{}{}, w)
}

// Resign has the writer of a log hand it over to another process, and returns when that serves it. It needs the right to administer.
func (c *Client) Resign(ctx context.Context, log string) error {
	return c.act(ctx, "writer", "resign", struct {
		Log string `json:"log"`
	}{log}, nil)
}
