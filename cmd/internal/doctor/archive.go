package doctor

import (
	"context"
	"strings"
	"time"

	"github.com/eventfuldb/eventful/pkg/archive"
	"github.com/eventfuldb/eventful/pkg/eventlog"
	"github.com/eventfuldb/eventful/pkg/jetlog"
)

// archivePatience bounds what is asked of the archive.
const archivePatience = 15 * time.Second

// archived holds that every log which was purged goes on in the archive without a gap, and that the archive can be reached.
func (x *examination) archived(ctx context.Context, store *jetlog.Store, names []string) {
	ctx, cancel := context.WithTimeout(ctx, archivePatience)
	defer cancel()
	kept, err := x.Archive.Open(x.Keys.Site(), x.Secrets)
	if err != nil {
		x.found(checkArchive, "`eventful config show --origin` says where its settings come from", "%v", err)
		return
	}
	before, whole := len(x.results), []string{}
	for _, name := range names {
		log, err := store.Open(ctx, name)
		if err != nil {
			continue // told already
		}
		if x.reaches(ctx, kept, log) {
			whole = append(whole, name)
		}
	}
	if kept != nil && len(x.results) == before {
		x.ok(checkArchive, "%s; of these logs it has all that their streams lack: %s", kept, list(whole))
	}
}

// reaches reports whether a log is whole, and tells where it is not.
func (x *examination) reaches(ctx context.Context, kept *archive.Archive, log eventlog.Log) bool {
	first, _, err := log.Bounds(ctx)
	switch {
	case err != nil:
		return false // told already
	case kept == nil && first > 1:
		x.found(checkArchive, "give this process the archive of the site (`eventful config --archive=…`), or put a backup back",
			"log %s begins at %d: what is before it was purged, and no archive is configured", log.Name(), first)
		return false
	case kept == nil:
		return true
	}
	last, err := kept.Last(ctx, log.Name())
	if err != nil {
		x.found(checkArchive, "can this machine reach it, with these keys? docs/archive.md says what to do about damage", "log %s in %s: %v", log.Name(), kept, err)
		return false
	}
	if last+1 < first {
		x.found(checkArchive, "is it the archive of this site? Put back what is missing, with a copy of the bucket or a backup", "log %s begins at %d, and %s has it up to %d", log.Name(), first, kept, last)
		return false
	}
	if err := kept.Present(ctx, log.Name()); err != nil {
		x.found(checkArchive, "is it mounted, and the archive of this site? Put back what is missing, with a copy of the bucket or a backup", "%v", err)
		return false
	}
	return true
}

// archiveOff names the check where nothing can be asked.
func archiveOff(place string) []string {
	if strings.TrimSpace(place) == "" {
		return nil
	}
	return []string{checkArchive}
}
