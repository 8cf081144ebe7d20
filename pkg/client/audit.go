package client

import (
	"context"
	"time"
)

// ActsWanted says which administrative acts are asked for; the zero value: all, from the first one on.
type ActsWanted struct {
	Actor string    // who did them: all of it, or its beginning and `…`; empty: anybody
	About string    // what they are about: type, or type/id; empty: anything
	Since time.Time // not before; zero: from the first one
	Until time.Time // before; zero: to the last one
	Units bool      // what writers record of write budgets too
	Take  int       // at most; 0: 100
}

// ActsPage is one page of acts, oldest first. It may be empty and have a cursor: there is more to look at. The cursor is empty on the last page.
type ActsPage struct {
	Acts   []Recorded `json:"acts"`
	Cursor string     `json:"cursor"`
}

// Audit lists what was done with schemas, keys, tokens and the like: events of the system log, each with actor and hash. administers says that the client's
// token is one that an auth key made to administer, which sees everything; an access token sees the types of the system log that it names. cursor is that of the page
// before, or empty.
func (c *Client) Audit(ctx context.Context, administers bool, want ActsWanted, cursor string) (*ActsPage, error) {
	body := struct {
		Actor  string `json:"actor,omitempty"`
		About  string `json:"about,omitempty"`
		Since  string `json:"since,omitempty"`
		Until  string `json:"until,omitempty"`
		Units  bool   `json:"units,omitempty"`
		Take   int    `json:"take,omitempty"`
		Cursor string `json:"cursor,omitempty"`
	}{want.Actor, want.About, wireTime(want.Since), wireTime(want.Until), want.Units, want.Take, cursor}
	page := &ActsPage{}
	if administers {
		return page, c.act(ctx, "audit", "list", body, page)
	}
	return page, c.askType(ctx, "", "audit", read{waitFor: "latest"}, body, page)
}
