package statestore

import (
	"sync"
	"time"

	"github.com/dgraph-io/badger/v4"
	badgeroptions "github.com/dgraph-io/badger/v4/options"
)

// memTableBytes is the size of Badger's table in memory, of which up to 2 + 1 exist. A transaction may take 15 % of it, and one node of
// 96 bytes for each write: 16 MiB allow 2.5 MB and 26,214 writes, enough for the limits of a batch.
const memTableBytes = 16 << 20

// dataKeyLife is how long Badger encrypts with one data key: longer than a store lives, as it is rebuilt, not rotated. It must be less than the time
// since 1970, which Badger takes for the age of a data key that there is not yet: else it makes none, and writes plain text.
const dataKeyLife = 10 * 365 * 24 * time.Hour

func options(dir string, c Config) badger.Options {
	cache := c.CacheBytes
	if cache <= 0 {
		cache = DefaultCacheBytes
	}
	o := badger.DefaultOptions(dir)
	o.Logger = nil           // what matters comes back as an error
	o.MetricsEnabled = false // Badger's metrics are global to the process
	o.EncryptionKey = c.Key
	o.EncryptionKeyRotationDuration = dataKeyLife
	o.SyncWrites = false      // rebuildable: a flush for each batch would double the cost of a block
	o.NumVersionsToKeep = 1   // nobody reads an older state
	o.DetectConflicts = false // batches do not read, so they cannot conflict
	o.ChecksumVerificationMode = badgeroptions.OnBlockRead
	o.VerifyValueChecksum = true
	// Together with checkTables, which reads each table at open, OnBlockRead is OnTableAndBlockRead without its fault: Badger itself
	// passes over a table that it finds damaged at open, and ends the process over a damaged footer.
	o.MemTableSize = memTableBytes
	o.NumMemtables = 2                 // one is filled while one is written; more memory would only hide a slow disk
	o.NumCompactors = 2                // the least that Badger takes
	o.NumLevelZeroTables = 4           // fewer compactions than 2 would start, and still few tables to ask on each read
	o.NumLevelZeroTablesStall = 10     // stalls writes before many tables of 16 MiB pile up
	o.Compression = badgeroptions.None // hashes, salts and random ids do not compress
	o.BaseTableSize = 8 << 20          // fewer files than 2 MiB, which is the default
	o.ValueLogFileSize = 64 << 20      // values of 1 MiB or more only; the default reserves 2 GiB of address space
	o.CompactL0OnClose = false         // closing must not take as long as a compaction does
	o.BlockCacheSize = cache / 2       // decrypted blocks
	o.IndexCacheSize = cache / 2       // decrypted table indexes; required with encryption
	return o
}

// collectEvery is the time between two looks for dead space in the value log.
const collectEvery = 10 * time.Minute

// collector removes dead files of the value log, which only values of 1 MiB or more reach.
type collector struct {
	quit chan struct{}
	done sync.WaitGroup
}

func collect(db *badger.DB) *collector {
	c := &collector{quit: make(chan struct{})}
	c.done.Go(func() {
		tick := time.NewTicker(collectEvery)
		defer tick.Stop()
		for {
			select {
			case <-c.quit:
				return
			case <-tick.C:
				// nil: a file was rewritten, and there may be another one; any error: nothing to do until the next tick
				for guard(func() error { return db.RunValueLogGC(0.5) }) == nil && !c.stopping() {
				}
			}
		}
	})
	return c
}

func (c *collector) stopping() bool {
	select {
	case <-c.quit:
		return true
	default:
		return false
	}
}

// stop ends the collector and waits for it.
func (c *collector) stop() {
	close(c.quit)
	c.done.Wait()
}
