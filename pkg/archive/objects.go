package archive

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/eventfuldb/eventful/pkg/event"
)

// Objects is where an archive lies: a folder or a bucket. Names are ASCII with `/` between their parts, none of which is `.` or `..`. All methods are safe for concurrent
// use. Errors other than those named concern the machine or the network, and can be tried again.
type Objects interface {
	// Create stores an object, whole and flushed, or nothing. ErrExists: the name is taken.
	Create(ctx context.Context, name string, data []byte) error
	// Replace stores an object in the place of the one of that name, if any; readers see one or the other.
	Replace(ctx context.Context, name string, data []byte) error
	// Read gives the bytes from offset on, as many as length; fewer than that are an error. ErrNotFound if there is no such object.
	Read(ctx context.Context, name string, offset, length int64) ([]byte, error)
	// Size is the number of bytes of an object: ErrNotFound if there is none.
	Size(ctx context.Context, name string) (int64, error)
	// List gives the names that begin with prefix, ascending.
	List(ctx context.Context, prefix string) ([]string, error)
	// Remove deletes an object; one that does not exist is no error.
	Remove(ctx context.Context, name string) error
	// String says where that is, for people; without secrets.
	String() string
}

// whole reads an object of at most limit bytes.
func whole(ctx context.Context, o Objects, name string, limit int64) ([]byte, error) {
	size, err := o.Size(ctx, name)
	if err != nil {
		return nil, err
	}
	if size > limit {
		return nil, fmt.Errorf("%s has %d bytes, more than %d: %w", name, size, limit, ErrDamaged)
	}
	return o.Read(ctx, name, 0, size)
}

// folderOf is what the names of a log's objects begin with.
func folderOf(site, log string) (string, error) {
	if err := errors.Join(event.CheckSite(site), event.CheckLog(log)); err != nil {
		return "", fmt.Errorf("name objects of log %.80q: %w", log, err)
	}
	return site + "/" + log + "/", nil
}

func segmentName(folder string, first uint64) string {
	return fmt.Sprintf("%ssegments/%020d.evs", folder, first)
}

// checkName refuses what is no name of an object.
func checkName(name string) error {
	for part := range strings.SplitSeq(name, "/") {
		if part == "" || part == "." || part == ".." || strings.ContainsFunc(part, func(r rune) bool { return r <= ' ' || r > '~' || r == '\\' }) {
			return fmt.Errorf("%.100q is no name of an object", name)
		}
	}
	return nil
}
