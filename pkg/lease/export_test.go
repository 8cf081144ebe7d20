package lease

// CheckRecord decodes a value as both kinds of record, and gives what is wrong if one that can be read does not come back from its encoding.
func CheckRecord(value []byte) string {
	if r, err := decodeMember(value); err == nil {
		if back, err := decodeMember(encode(r)); err != nil || back.Incarnation != r.Incarnation || back.Beat != r.Beat || len(back.Logs) != len(r.Logs) || back.Full != r.Full {
			return "a member's record changes when it is written again"
		}
	}
	if r, err := decodeLog(value); err == nil {
		if back, err := decodeLog(encode(r)); err != nil || back != r {
			return "a log's record changes when it is written again"
		}
	}
	return ""
}

// Purge empties the table and tells nobody, as a purge of the bucket's stream does.
func (m *Memory) Purge() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.records = make(map[string]Change)
}
