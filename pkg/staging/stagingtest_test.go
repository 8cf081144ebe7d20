package staging_test

import (
	"testing"

	"github.com/eventfuldb/eventful/pkg/staging"
	"github.com/eventfuldb/eventful/pkg/staging/stagingtest"
)

func TestMemoryConforms(t *testing.T) {
	m := stagingtest.NewMemory()
	stagingtest.TestBucket(t, func(*testing.T) staging.Bucket { return m }, 0)
}
