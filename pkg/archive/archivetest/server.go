package archivetest

import (
	"context"
	"crypto/rand"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"
)

// Keys of the server that StartS3 starts.
const (
	AccessKey = "testkey"
	SecretKey = "testsecret"
)

// StartS3 starts a real S3-compatible server (versitygw) on loopback with an empty bucket, and gives `host:port/bucket`. It ends with the test. Where the program is not installed (`make s3`
// does it) the test is skipped, or fails if REQUIRE_S3=1.
func StartS3(t testing.TB) string {
	t.Helper()
	program, err := exec.LookPath(Program())
	if err != nil {
		if os.Getenv("REQUIRE_S3") == "1" {
			t.Fatalf("REQUIRE_S3=1, and there is no S3 server: %v: `make s3` installs it", err)
		}
		t.Skipf("no S3 server: %v: `make s3` installs it", err)
	}
	address := freeAddress(t)
	cmd := exec.Command(program, "--access", AccessKey, "--secret", SecretKey, "--port", address, "--quiet", "posix", "--sidecar", t.TempDir(), t.TempDir())
	if err := cmd.Start(); err != nil {
		t.Fatalf("start the S3 server: %v", err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill() // nothing in it is needed
		_ = cmd.Wait()
	})
	bucket := "archive-" + strings.ToLower(rand.Text()[:8])
	makeBucket(t, address, bucket)
	return address + "/" + bucket
}

// Program is the S3 server: EVENTFUL_S3_SERVER, else bin/versitygw of this repository, which is where `make s3` installs it.
func Program() string {
	if p := os.Getenv("EVENTFUL_S3_SERVER"); p != "" {
		return p
	}
	out, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}").Output()
	if err != nil {
		return "versitygw"
	}
	return strings.TrimSpace(string(out)) + "/bin/versitygw"
}

func freeAddress(t testing.TB) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }() // it only reserved a port
	return l.Addr().String()
}

// makeBucket makes the bucket as soon as the server answers.
func makeBucket(t testing.TB, address, bucket string) {
	t.Helper()
	client, err := minio.New(address, &minio.Options{Creds: credentials.NewStaticV4(AccessKey, SecretKey, ""), Region: "us-east-1", MaxRetries: 1})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		err := client.MakeBucket(ctx, bucket, minio.MakeBucketOptions{})
		if err == nil {
			return
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatal(fmt.Errorf("make a bucket: %w", err))
		}
	}
}
