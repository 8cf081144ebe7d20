package reencrypt

import "time"

// meterEvery is how often something that takes long says how far it is.
const meterEvery = 2 * time.Second

// meter says now and then how far something is. It is for one goroutine.
type meter struct {
	say  func(format string, args ...any)
	next time.Time
}

func (c Config) meter() *meter { return &meter{c.Progress, time.Now().Add(meterEvery)} }

// at says it, unless something was said a moment ago.
func (m *meter) at(format string, args ...any) {
	if now := time.Now(); now.After(m.next) {
		m.next = now.Add(meterEvery)
		m.say(format, args...)
	}
}
