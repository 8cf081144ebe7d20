package eventlog

// Hold keeps back the answers of a log's appends until the function it gives is called: so a test sees several appends in flight.
// What is stored is decided at once, in the order of the calls. A log that does not exist, or is held already, gives a function without effect.
func (m *Memory) Hold(log string) (release func()) {
	m.mu.Lock()
	defer m.mu.Unlock()
	l := m.logs[log]
	if l == nil || l.held {
		return func() {}
	}
	l.held = true
	return func() { m.answer(l) }
}

// answer ends a Hold and gives the answers in the order of the appends; a second call finds none.
func (m *Memory) answer(l *memoryLog) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, p := range l.waiting {
		close(p.done)
	}
	l.held, l.waiting = false, nil
}
