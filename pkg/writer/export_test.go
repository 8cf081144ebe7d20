package writer

// RewriteHead, RewriteAccepted and RewriteMeta read a value of the stored state and write it again.
func RewriteHead(b []byte) ([]byte, error) {
	h, err := decodeHead(b)
	if err != nil {
		return nil, err
	}
	return h.encode(), nil
}

func RewriteAccepted(b []byte) ([]byte, error) {
	a, err := decodeAccepted(b)
	if err != nil {
		return nil, err
	}
	return a.encode(), nil
}

func RewriteMeta(b []byte) ([]byte, error) {
	m, err := decodeMeta(b)
	if err != nil {
		return nil, err
	}
	return m.encode(), nil
}
