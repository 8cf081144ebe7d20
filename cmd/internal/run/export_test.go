package run

import "github.com/rs/zerolog"

// ParseInfo reads what the lock file or run.json holds.
func ParseInfo(text []byte) (*Info, error) { return parseInfo("run.json", text) }

// Join takes a folder of states; fresh says that no lease of before need be waited for. release notes whether there are others, and gives the folder up.
func Join(dir string) (id string, fresh bool, release func(others bool), err error) {
	m, err := join(dir, zerolog.Nop())
	if err != nil {
		return "", false, nil, err
	}
	c := m.config(true)
	return c.Member.ID, c.Grace < 0, func(others bool) {
		_ = m.note(others, true)
		_ = m.lock.Release()
	}, nil
}
