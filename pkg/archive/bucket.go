package archive

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"
)

// BucketAddress names a bucket of an S3-compatible server.
type BucketAddress struct {
	Host   string // host, or host:port
	Bucket string
	Prefix string // of all names; empty, or without `/` at its ends
	Region string // empty: us-east-1
	TLS    bool
}

// ParseBucket reads `s3://HOST[:PORT]/BUCKET[/PREFIX][?region=REGION]`; with `s3+http://` the connection is not encrypted.
func ParseBucket(text string) (b BucketAddress, err error) {
	u, err := url.Parse(text)
	if err != nil {
		return b, fmt.Errorf("%.200q is no URL of a bucket: %w", text, err)
	}
	name, prefix, _ := strings.Cut(strings.Trim(u.Path, "/"), "/")
	b = BucketAddress{Host: u.Host, Bucket: name, Prefix: prefix, Region: u.Query().Get("region"), TLS: u.Scheme == "s3"}
	known := u.Query()
	known.Del("region")
	switch {
	case u.Scheme != "s3" && u.Scheme != "s3+http", u.User != nil, u.Host == "", name == "", u.Fragment != "", len(known) > 0:
		return b, fmt.Errorf("%.200q is not s3://HOST[:PORT]/BUCKET[/PREFIX]", u.Redacted())
	case prefix != "" && checkName(prefix) != nil:
		return b, checkName(prefix)
	}
	return b, nil
}

// Bucket is Objects in a bucket of an S3-compatible server, which must know conditional writes (`If-None-Match: *`).
type Bucket struct {
	client   *minio.Client
	address  BucketAddress
	patience time.Duration
	close    func()
}

// How long one request may take, tries included, and how often the client tries it.
const (
	bucketPatience = 30 * time.Second
	bucketTries    = 3
)

// OpenBucket opens a bucket, which must exist. It sends nothing. A request may take half a minute.
func OpenBucket(address BucketAddress, accessKey, secretKey string) (*Bucket, error) {
	return openBucket(address, accessKey, secretKey, bucketPatience)
}

func openBucket(address BucketAddress, accessKey, secretKey string, patience time.Duration) (*Bucket, error) {
	transport, err := minio.DefaultTransport(address.TLS)
	if err != nil {
		return nil, fmt.Errorf("open bucket %s: %w", address.Bucket, err)
	}
	transport.ResponseHeaderTimeout = patience
	region := address.Region
	if region == "" {
		region = "us-east-1"
	}
	client, err := minio.New(address.Host, &minio.Options{
		Creds: credentials.NewStaticV4(accessKey, secretKey, ""), Secure: address.TLS, Region: region, Transport: transport, BucketLookup: minio.BucketLookupPath, MaxRetries: bucketTries,
	})
	if err != nil {
		return nil, fmt.Errorf("open bucket %s: %w", address.Bucket, err)
	}
	return &Bucket{client: client, address: address, patience: patience, close: transport.CloseIdleConnections}, nil
}

// Close drops connections that are kept for later requests. The Bucket can still be used.
func (b *Bucket) Close() { b.close() }

// String implements Objects.
func (b *Bucket) String() string {
	scheme := "s3+http"
	if b.address.TLS {
		scheme = "s3"
	}
	return scheme + "://" + path.Join(b.address.Host, b.address.Bucket, b.address.Prefix)
}

// do runs one request under its timeout.
func (b *Bucket) do(ctx context.Context, what, name string, request func(ctx context.Context, key string) error) error {
	if err := checkName(name); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, b.patience)
	defer cancel()
	if err := request(ctx, path.Join(b.address.Prefix, name)); err != nil {
		return fmt.Errorf("%s %s in %s: %w", what, name, b, mapped(err))
	}
	return nil
}

// mapped gives what the server answered our names.
func mapped(err error) error {
	answer := minio.ToErrorResponse(err)
	switch {
	case answer.Code == minio.NoSuchKey, answer.StatusCode == http.StatusNotFound && answer.Code != minio.NoSuchBucket:
		return ErrNotFound
	case answer.StatusCode == http.StatusPreconditionFailed:
		return ErrExists
	}
	return err
}

// Create implements Objects.
func (b *Bucket) Create(ctx context.Context, name string, data []byte) error {
	options := minio.PutObjectOptions{DisableMultipart: true, ContentType: "application/octet-stream"}
	options.SetMatchETagExcept("*")
	return b.do(ctx, "create", name, func(ctx context.Context, key string) error { return b.put(ctx, key, data, options) })
}

// Replace implements Objects.
func (b *Bucket) Replace(ctx context.Context, name string, data []byte) error {
	options := minio.PutObjectOptions{DisableMultipart: true, ContentType: "application/octet-stream"}
	return b.do(ctx, "replace", name, func(ctx context.Context, key string) error { return b.put(ctx, key, data, options) })
}

func (b *Bucket) put(ctx context.Context, key string, data []byte, options minio.PutObjectOptions) error {
	info, err := b.client.PutObject(ctx, b.address.Bucket, key, bytes.NewReader(data), int64(len(data)), options)
	if err == nil && info.Size != int64(len(data)) {
		err = fmt.Errorf("%d of %d bytes were stored", info.Size, len(data))
	}
	return err
}

// Read implements Objects.
func (b *Bucket) Read(ctx context.Context, name string, offset, length int64) (data []byte, err error) {
	if length == 0 {
		return nil, nil
	}
	err = b.do(ctx, "read", name, func(ctx context.Context, key string) error {
		var options minio.GetObjectOptions
		if err := options.SetRange(offset, offset+length-1); err != nil {
			return err
		}
		object, err := b.client.GetObject(ctx, b.address.Bucket, key, options)
		if err != nil {
			return err
		}
		data = make([]byte, length)
		if _, err = io.ReadFull(object, data); err != nil {
			_ = object.Close() // what was read is not used
			return err
		}
		return object.Close()
	})
	if err != nil {
		return nil, err
	}
	return data, nil
}

// Size implements Objects.
func (b *Bucket) Size(ctx context.Context, name string) (size int64, err error) {
	err = b.do(ctx, "look at", name, func(ctx context.Context, key string) error {
		info, err := b.client.StatObject(ctx, b.address.Bucket, key, minio.StatObjectOptions{})
		size = info.Size
		return err
	})
	return size, err
}

// List implements Objects.
func (b *Bucket) List(ctx context.Context, prefix string) ([]string, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	names := []string{}
	before := b.address.Prefix
	if before != "" {
		before += "/"
	}
	for one := range b.client.ListObjects(ctx, b.address.Bucket, minio.ListObjectsOptions{Prefix: before + prefix, Recursive: true}) {
		if one.Err != nil {
			return nil, fmt.Errorf("list %s in %s: %w", prefix, b, one.Err)
		}
		names = append(names, strings.TrimPrefix(one.Key, before))
	}
	slices.Sort(names)
	return names, nil
}

// Remove implements Objects.
func (b *Bucket) Remove(ctx context.Context, name string) error {
	err := b.do(ctx, "remove", name, func(ctx context.Context, key string) error {
		return b.client.RemoveObject(ctx, b.address.Bucket, key, minio.RemoveObjectOptions{})
	})
	if errors.Is(err, ErrNotFound) {
		return nil
	}
	return err
}
