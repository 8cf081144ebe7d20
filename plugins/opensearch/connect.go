package opensearch

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	client "github.com/opensearch-project/opensearch-go/v2"
	"github.com/opensearch-project/opensearch-go/v2/signer/awsv2"

	"github.com/eventfuldb/eventful/pkg/plugin"
)

const (
	dialTimeout = 5 * time.Second
	maxAnswer   = 64 << 20 // bytes of an answer; more is garbage
)

// connect makes a client. It does no I/O. The client never repeats a request: that is the engine's to do.
func connect(v plugin.Values) (*client.Client, *http.Transport, error) {
	transport := &http.Transport{
		Proxy:           http.ProxyFromEnvironment,
		DialContext:     (&net.Dialer{Timeout: dialTimeout}).DialContext,
		TLSClientConfig: &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: v.Certificates(optionCA)}, TLSHandshakeTimeout: dialTimeout,
		DisableCompression: true, // answers are short: packing them costs the node more than it saves
		ForceAttemptHTTP2:  true, MaxIdleConnsPerHost: 64, IdleConnTimeout: time.Minute,
	}
	cfg := client.Config{
		Addresses: v.List(optionURL), Username: v[optionUser], Password: v[optionPassword], Transport: reader{transport},
		DisableRetry: true, MaxRetries: 1, // 0 would mean three
	}
	if v[optionAPIKey] != "" {
		cfg.Header = http.Header{"Authorization": {"ApiKey " + v[optionAPIKey]}}
	}
	if v[optionRegion] != "" {
		signer, err := awsv2.NewSigner(aws.Config{Region: v[optionRegion], Credentials: credentials(v)})
		if err != nil {
			return nil, nil, fmt.Errorf("sign for AWS: %w", err)
		}
		cfg.Signer = signer
	}
	c, err := client.NewClient(cfg)
	if err != nil {
		return nil, nil, fmt.Errorf("make a client: %w", err)
	}
	return c, transport, nil
}

func credentials(v plugin.Values) aws.CredentialsProvider {
	return aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) {
		return aws.Credentials{AccessKeyID: v[optionKeyID], SecretAccessKey: v[optionSecret], SessionToken: v[optionSession]}, nil
	})
}

// reader reads answers to their end, up to maxAnswer. The client would read without a bound, hide that an answer broke off, and send a request whose
// connection was closed again with an empty body.
type reader struct{ next http.RoundTripper }

// RoundTrip implements http.RoundTripper. Its errors hold no addresses with secrets: there are none in addresses.
func (r reader) RoundTrip(req *http.Request) (*http.Response, error) {
	res, err := r.next.RoundTrip(req)
	if err != nil {
		return nil, fmt.Errorf("ask OpenSearch: %w", explain(err))
	}
	body, err := readAll(res)
	closed := res.Body.Close()
	switch {
	case err != nil:
		return nil, fmt.Errorf("read the answer of OpenSearch: %w", err)
	case closed != nil:
		return nil, fmt.Errorf("read the answer of OpenSearch: %w", closed)
	case len(body) > maxAnswer:
		return nil, fmt.Errorf("read the answer of OpenSearch: more than %d bytes", maxAnswer)
	}
	res.Body = io.NopCloser(bytes.NewReader(body))
	return res, nil
}

// readAll reads an answer, and no more than tells that it is too long.
func readAll(res *http.Response) ([]byte, error) {
	if res.ContentLength <= 0 || res.ContentLength > maxAnswer {
		return io.ReadAll(io.LimitReader(res.Body, maxAnswer+1))
	}
	body := make([]byte, res.ContentLength)
	n, err := io.ReadFull(res.Body, body)
	return body[:n], err
}

// explain says what to do about a certificate.
func explain(err error) error {
	var unknown x509.UnknownAuthorityError
	var host x509.HostnameError
	var invalid x509.CertificateInvalidError
	switch {
	case errors.As(err, &unknown):
		return fmt.Errorf("its certificate is signed by nobody who is trusted here (give the signer with --%s): %w", optionCA, err)
	case errors.As(err, &host), errors.As(err, &invalid):
		return fmt.Errorf("its certificate does not hold: %w", err)
	case strings.Contains(err.Error(), "server gave HTTP response to HTTPS client"):
		return fmt.Errorf("it speaks http, not https: %w", err)
	}
	return err
}
