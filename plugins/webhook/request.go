package webhook

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/eventfuldb/eventful/pkg/plugin"
)

// Names of headers.
const (
	attributePrefix = "Ce-"
	signatureHeader = "Eventful-Signature"
)

// send makes one request. away says that the next one would not fare better now.
func (t *target) send(ctx context.Context, c *plugin.Change) (o plugin.Outcome, away bool) {
	ctx, cancel := context.WithTimeout(ctx, t.timeout)
	defer cancel()
	request, err := t.request(ctx, c)
	if err != nil {
		return plugin.Retry(err), false
	}
	answer, err := t.client.Do(request)
	if err != nil {
		return plugin.Retry(unreachable(err)), true
	}
	defer answer.Body.Close()
	said, _ := io.ReadAll(io.LimitReader(answer.Body, maxAnswer)) // the status has said it all; a connection with more to read is closed
	o = t.judge(answer, said)
	return o, o.After > 0
}

// unreachable gives the error without the address, whose path may be a secret of the receiver.
func unreachable(err error) error {
	var in *url.Error
	if errors.As(err, &in) {
		err = in.Err
	}
	return fmt.Errorf("send to the receiver: %w", err)
}

// request makes the request of a change, signed.
func (t *target) request(ctx context.Context, c *plugin.Change) (*http.Request, error) {
	headers, body := http.Header{}, []byte(nil)
	if t.binary {
		headers.Set("Content-Type", "application/json")
		for _, a := range attributes(c) {
			headers.Set(attributePrefix+a.Name, escape(a.Value))
		}
		body = plugin.AppendData(nil, c)
	} else {
		headers.Set("Content-Type", "application/cloudevents+json; charset=utf-8")
		body = plugin.AppendCloudEvent(nil, c)
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, t.url, bytes.NewReader(body))
	if err != nil {
		return nil, unreachable(err)
	}
	headers.Set("User-Agent", "eventful")
	if len(t.secret) > 0 {
		headers.Set(signatureHeader, signature(t.secret, time.Now(), headers, body))
	}
	for name, values := range t.headers {
		headers[name] = slices.Clone(values)
	}
	request.Header = headers
	return request, nil
}

// attributes are those of the CloudEvent that are headers in the binary mode: all but its content type.
func attributes(c *plugin.Change) []plugin.Extension {
	return append([]plugin.Extension{
		{Name: "specversion", Value: "1.0"}, {Name: "id", Value: c.Leaf.String()}, {Name: "source", Value: plugin.Source(c)},
		{Name: "type", Value: c.Aggregate.Type + "." + c.EventType}, {Name: "subject", Value: c.Aggregate.String()}, {Name: "time", Value: plugin.CloudEventTime(c)},
	}, plugin.Extensions(c)...)
}

// escape writes a value as a header can hold it: every byte of UTF-8 outside U+0021 to U+007E, and " and %, as %XX (CloudEvents HTTP binding 1.0.2, section 3.1.3.2).
func escape(value string) string {
	var b strings.Builder
	for i := range len(value) {
		if c := value[i]; c <= ' ' || c > '~' || c == '"' || c == '%' {
			fmt.Fprintf(&b, "%%%02X", c)
		} else {
			b.WriteByte(c)
		}
	}
	return b.String()
}

// signature is `t=<seconds since the Unix epoch>,v1=<HMAC-SHA256 in hex>` over what signed gives.
func signature(secret []byte, now time.Time, headers http.Header, body []byte) string {
	t := strconv.FormatInt(now.Unix(), 10)
	mac := hmac.New(sha256.New, secret)
	mac.Write(signed(t, headers, body))
	return "t=" + t + ",v1=" + hex.EncodeToString(mac.Sum(nil))
}

// signed is the text under the signature: the time, each CloudEvents header in ascending order of its name in lower case, an empty line, and the body.
func signed(t string, headers http.Header, body []byte) []byte {
	text := append([]byte(t), '\n')
	for _, name := range slices.Sorted(maps.Keys(headers)) {
		if strings.HasPrefix(name, attributePrefix) {
			text = append(text, strings.ToLower(name)+":"+headers.Get(name)+"\n"...)
		}
	}
	return append(append(text, '\n'), body...)
}
