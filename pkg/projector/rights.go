package projector

import (
	"sync/atomic"

	"github.com/eventfuldb/eventful/pkg/eventlog"
	"github.com/eventfuldb/eventful/pkg/schema"
)

// tokenRevoked is the system event that ends a token (docs/spec/commands.md, section 9).
const tokenRevoked = "token-revoked"

// rights counts what changes who may do what.
type rights struct {
	keys  atomic.Uint64 // changes of auth keys
	ended atomic.Uint64 // tokens that were ended
}

// Rights count how often, since the process started, an auth key was changed and a token ended, as far as the index of the system log holds it: what was looked up under
// other counts may not hold any more. Take them before looking.
func (p *Projector) Rights() (keys, ended uint64) { return p.rights.keys.Load(), p.rights.ended.Load() }

// anew: the index may be another one.
func (r *rights) anew() {
	r.keys.Add(1)
	r.ended.Add(1)
}

// learnBlock counts what a block of the system log changes. The index holds the block already.
func (r *rights) learnBlock(found *eventlog.Found) {
	for _, c := range found.Commits {
		switch c.Aggregate.Type {
		case schema.SystemKey:
			r.keys.Add(1)
		case schema.SystemToken:
			for i := range c.Events {
				if c.Events[i].Type == tokenRevoked {
					r.ended.Add(1)
				}
			}
		}
	}
}
