package run

import (
	"encoding/json"
	"slices"

	"github.com/eventfuldb/eventful/pkg/writer"
	"github.com/eventfuldb/eventful/streams"
)

// engineName is how the users of engines in the server's own process call themselves (node.ConnAs).
const engineName = "engine"

// usual reports whether a change of a stream is what engines do by themselves: makers make streams, and bring the feed to what is configured; single messages go from streams beside the logs,
// by whose role that is; and what is forgotten is taken out of the feed. What a user calls himself is signed with a key of the account.
func (e Engines) usual(account string, c writer.StreamChange) bool {
	in := streams.Installation{Site: e.Site, Stream: c.Stream}
	switch c.Action {
	case actionCreate:
		return c.Role == string(streams.RoleMaker) && in.Keeps(account, c.Stream)
	case actionUpdate:
		return c.Role == string(streams.RoleMaker) && c.Stream == streams.FeedStream
	case actionMessage:
		return mayRemove(in, account, c)
	case actionPurge:
		return account == streams.AccountAPP && c.Stream == streams.FeedStream && slices.Contains([]string{engineName, string(streams.RoleRunner)}, c.Role) && ofOneAggregate(c.Request)
	}
	return false
}

// mayRemove reports whether removing single messages of a stream is for the role that did, or in the server's own process for any.
func mayRemove(in streams.Installation, account string, c writer.StreamChange) bool {
	return slices.ContainsFunc([]streams.Role{streams.RoleWriter, streams.RoleProjector, streams.RoleRunner}, func(role streams.Role) bool {
		p, err := streams.RolePermissions(in, account, role)
		return err == nil && (c.Role == engineName || c.Role == string(role)) && slices.ContainsFunc(p.Publish, func(one streams.Permission) bool {
			return one.Subject == "$JS.API.STREAM.MSG.DELETE."+c.Stream
		})
	})
}

// ofOneAggregate reports whether the request of a purge names the events of one aggregate in the feed, and no others.
func ofOneAggregate(request string) bool {
	var purge struct {
		Subject string `json:"filter"`
	}
	if json.Unmarshal([]byte(request), &purge) != nil {
		return false
	}
	return streams.IsFeedAggregate(purge.Subject)
}
