package node

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// Names of nats-server's file store.
const (
	messagesName = "msgs"     // folder of a stream's blocks, N.blk with their keys N.key
	metaKeyName  = "meta.key" // beside it, where the stream is encrypted
	metaSumName  = "meta.sum" // written behind meta.inf when a stream is made
)

// Mend undoes what nats-server 2.15 leaves behind when it is killed at one of two moments, and which it then takes for a damaged stream:
//
//   - It makes a block's file before the block's key. Killed in between, it finds an empty block without a key at its next start, says `corrupt state file`, and removes
//     the whole stream. The empty file is removed; no message was ever in it.
//   - It makes a stream's meta.inf before meta.sum. Killed in between, it does not open the stream, which is empty. The folder is removed; nobody was told that the
//     stream exists.
//
// dir is the store_dir of a server that does not run. Mend gives the files and folders that it removed. It may be repeated, and cut short anywhere.
func Mend(dir string) (removed []string, err error) {
	err = filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		switch {
		case errors.Is(err, fs.ErrNotExist):
			return nil
		case err != nil:
			return err
		case !d.IsDir() || d.Name() != messagesName:
			return nil
		}
		gone, err := mendStream(filepath.Dir(path))
		removed = append(removed, gone...)
		if err != nil {
			return err
		}
		return fs.SkipDir
	})
	if err != nil {
		return removed, fmt.Errorf("mend the store %s: %w", dir, err)
	}
	return removed, nil
}

func mendStream(stream string) (removed []string, err error) {
	messages := filepath.Join(stream, messagesName)
	blocks, err := filepath.Glob(filepath.Join(messages, "*.blk"))
	if err != nil {
		return nil, err
	}
	held := false
	for _, block := range blocks {
		info, err := os.Stat(block)
		if err != nil {
			return removed, err
		}
		if info.Size() > 0 {
			held = true
			continue
		}
		key := strings.TrimSuffix(block, ".blk") + ".key"
		if !exists(filepath.Join(stream, metaKeyName)) || exists(key) || !numbered(block) {
			continue
		}
		if err := errors.Join(os.Remove(block), removeIfThere(key+".tmp")); err != nil {
			return removed, err
		}
		removed = append(removed, block)
	}
	if !held && exists(filepath.Join(stream, metaName)) && !exists(filepath.Join(stream, metaSumName)) {
		if err := os.RemoveAll(stream); err != nil {
			return removed, err
		}
		removed = append(removed, stream)
	}
	return removed, nil
}

func numbered(block string) bool {
	_, err := strconv.ParseUint(strings.TrimSuffix(filepath.Base(block), ".blk"), 10, 32)
	return err == nil
}

// exists says yes where it cannot be told: nothing is removed then.
func exists(path string) bool {
	_, err := os.Lstat(path)
	return !errors.Is(err, fs.ErrNotExist)
}

func removeIfThere(path string) error {
	if err := os.Remove(path); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}
