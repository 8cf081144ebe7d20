package disktest

import (
	"encoding/binary"
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// Requests of the FUSE protocol (Linux, include/uapi/linux/fuse.h) that a file system of one file gets. The root itself is the file.
const (
	fuseForget      = 2
	fuseGetattr     = 3
	fuseSetattr     = 4
	fuseOpen        = 14
	fuseRead        = 15
	fuseWrite       = 16
	fuseStatfs      = 17
	fuseRelease     = 18
	fuseFsync       = 20
	fuseFlush       = 25
	fuseInit        = 26
	fuseInterrupt   = 36
	fuseDestroy     = 38
	fuseBatchForget = 42
)

const (
	fuseHeader   = 40      // of a request: length, opcode, unique, node, uid, gid, pid, …
	fuseMaxWrite = 1 << 20 // bytes of one write
	fuseBuffer   = fuseMaxWrite + 4096
	fuseMinor    = 31
	fuseBig      = 1<<5 | 1<<22 // writes of more than a page; a number of pages of our choice
)

var le = binary.NativeEndian

// serve answers the kernel until the file system is unmounted. It waits for nothing but the kernel, so a loop device above it does not wait for itself.
func (d *Device) serve() {
	buffer := make([]byte, fuseBuffer)
	for {
		n, err := unix.Read(int(d.fuse.Fd()), buffer)
		switch {
		case errors.Is(err, unix.EINTR), errors.Is(err, unix.EAGAIN), errors.Is(err, unix.ENOENT):
			continue
		case err != nil || n < fuseHeader:
			return // ENODEV: unmounted
		}
		request := buffer[:n]
		opcode, unique := le.Uint32(request[4:]), le.Uint64(request[8:])
		answer, errno, silent := d.answer(opcode, request[fuseHeader:])
		if silent {
			continue
		}
		if errno != 0 {
			answer = nil
		}
		out := make([]byte, 16, 16+len(answer))
		le.PutUint32(out, uint32(16+len(answer)))
		le.PutUint32(out[4:], uint32(-int32(errno)))
		le.PutUint64(out[8:], unique)
		if _, err := d.fuse.Write(append(out, answer...)); err != nil && !errors.Is(err, os.ErrNotExist) {
			return
		}
	}
}

func (d *Device) answer(opcode uint32, body []byte) (answer []byte, errno unix.Errno, silent bool) {
	switch opcode {
	case fuseInit:
		return initAnswer(body), 0, false
	case fuseGetattr, fuseSetattr:
		return d.attributes(), 0, false
	case fuseOpen:
		return make([]byte, 16), 0, false
	case fuseRead:
		into := make([]byte, le.Uint32(body[16:]))
		return into[:d.read(int64(le.Uint64(body[8:])), into)], 0, false
	case fuseWrite:
		size := le.Uint32(body[16:])
		answer = make([]byte, 8)
		le.PutUint32(answer, size)
		return answer, d.write(int64(le.Uint64(body[8:])), body[40:40+size]), false
	case fuseFsync:
		return nil, d.flush(), false
	case fuseStatfs:
		return make([]byte, 80), 0, false
	case fuseRelease, fuseFlush, fuseDestroy:
		return nil, 0, false
	case fuseForget, fuseBatchForget, fuseInterrupt:
		return nil, 0, true
	}
	return nil, unix.ENOSYS, false
}

func initAnswer(body []byte) []byte {
	out := make([]byte, 64)
	le.PutUint32(out, 7)
	le.PutUint32(out[4:], fuseMinor)
	le.PutUint32(out[8:], le.Uint32(body[8:])) // read ahead as far as the kernel wants
	le.PutUint32(out[12:], fuseBig)
	le.PutUint16(out[16:], 64) // requests in the background
	le.PutUint16(out[18:], 48)
	le.PutUint32(out[20:], fuseMaxWrite)
	le.PutUint32(out[24:], 1) // nanoseconds
	le.PutUint16(out[28:], fuseMaxWrite/4096)
	return out
}

// attributes is fuse_attr_out of a regular file.
func (d *Device) attributes() []byte {
	out := make([]byte, 104)
	le.PutUint64(out, 3600) // seconds for which they hold
	attr := out[16:]
	le.PutUint64(attr, 1) // inode
	le.PutUint64(attr[8:], uint64(d.size))
	le.PutUint64(attr[16:], uint64(d.size/512))
	le.PutUint32(attr[60:], unix.S_IFREG|0o600)
	le.PutUint32(attr[64:], 1) // links
	le.PutUint32(attr[80:], 4096)
	return out
}
