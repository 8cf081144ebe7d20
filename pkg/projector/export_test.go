package projector

var ErrContent = errContent

// RewriteSummary, RewritePlace, RewriteHashValue and RewriteCursor read a value and write it again.
func RewriteSummary(b []byte) ([]byte, error) {
	s, err := parseSummary(b)
	if err != nil {
		return nil, err
	}
	return s.encode(), nil
}

func RewritePlace(b []byte) ([]byte, error) {
	p, err := parsePlace(b)
	if err != nil {
		return nil, err
	}
	return p.encode(), nil
}

func RewriteHashValue(b []byte) ([]byte, error) {
	a, v, err := parseHashValue(b)
	if err != nil {
		return nil, err
	}
	return hashValue(a, v), nil
}

func RewriteCursor(s string) (string, error) {
	c, err := parseCursor(s)
	if err != nil || s == "" {
		return "", err
	}
	return c.String(), nil
}
