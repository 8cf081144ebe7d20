package run

// ParseInfo reads what the lock file or run.json holds.
func ParseInfo(text []byte) (*Info, error) { return parseInfo("run.json", text) }
