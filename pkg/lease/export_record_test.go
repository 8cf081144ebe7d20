package lease

import "encoding/json"

// RewriteMember and RewriteLog read a record and write it again.
func RewriteMember(value []byte) ([]byte, error) {
	r, err := decodeMember(value)
	if err != nil {
		return nil, err
	}
	return json.Marshal(r)
}

func RewriteLog(value []byte) ([]byte, error) {
	r, err := decodeLog(value)
	if err != nil {
		return nil, err
	}
	return json.Marshal(r)
}

// RewriteKey reads a key and writes it again; empty: it is none of the site's.
func RewriteKey(site, key string) string {
	switch member, log := parseKey(site, key); {
	case member != "":
		return memberKey(site, member)
	case log != "":
		return logKey(site, log)
	}
	return ""
}
