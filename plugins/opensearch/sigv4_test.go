package opensearch_test

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
)

// signed checks a signature as the specification says it is made, with nothing of the library that made it
// (https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html).
func signed(t *testing.T, r *http.Request, secret string) bool {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		t.Error(err)
		return false
	}
	r.Body = io.NopCloser(bytes.NewReader(body))
	parts := map[string]string{}
	algorithm, rest, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	for _, part := range strings.Split(rest, ",") {
		name, value, _ := strings.Cut(strings.TrimSpace(part), "=")
		parts[name] = value
	}
	credential := strings.Split(parts["Credential"], "/")
	if algorithm != "AWS4-HMAC-SHA256" || len(credential) != 5 || credential[0] != "AKIDEXAMPLE" || credential[2] != "eu-central-1" || credential[3] != "es" {
		return false
	}
	canonical := strings.Join([]string{r.Method, encodeAgain(r.URL.EscapedPath()), strings.ReplaceAll(r.URL.Query().Encode(), "+", "%20")}, "\n") + "\n"
	for _, name := range strings.Split(parts["SignedHeaders"], ";") {
		value := strings.Join(r.Header.Values(name), ",")
		switch name {
		case "host":
			value = r.Host
		case "content-length":
			value = r.Header.Get("Content-Length")
		}
		canonical += name + ":" + strings.TrimSpace(value) + "\n"
	}
	canonical += "\n" + parts["SignedHeaders"] + "\n" + digest(body)
	scope := strings.Join(credential[1:], "/")
	key := []byte("AWS4" + secret)
	for _, step := range credential[1:] {
		key = mac(key, step)
	}
	want := mac(key, "AWS4-HMAC-SHA256\n"+r.Header.Get("X-Amz-Date")+"\n"+scope+"\n"+digest([]byte(canonical)))
	return parts["Signature"] == hex.EncodeToString(want) && r.Header.Get("X-Amz-Security-Token") == "session"
}

// encodeAgain: of services other than S3 the path is encoded once as it is sent, and once more for the signature.
func encodeAgain(path string) string {
	var b strings.Builder
	for i := range len(path) {
		if c := path[i]; c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || strings.IndexByte("-._~/", c) >= 0 {
			b.WriteByte(c)
		} else {
			fmt.Fprintf(&b, "%%%02X", c)
		}
	}
	return b.String()
}

func mac(key []byte, text string) []byte {
	m := hmac.New(sha256.New, key)
	m.Write([]byte(text))
	return m.Sum(nil)
}

func digest(b []byte) string {
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}
