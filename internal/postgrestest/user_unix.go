//go:build unix

package postgrestest

import (
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"strconv"
	"syscall"
)

// account is the user that the server runs as instead of root, which it refuses; nil if this is not root.
func account() (*syscall.Credential, error) {
	if os.Geteuid() != 0 {
		return nil, nil
	}
	u, err := user.Lookup("postgres")
	if err != nil {
		return nil, fmt.Errorf("root needs a user that PostgreSQL can run as: %w", err)
	}
	uid, err := strconv.ParseUint(u.Uid, 10, 32)
	if err != nil {
		return nil, fmt.Errorf("user postgres: %w", err)
	}
	gid, err := strconv.ParseUint(u.Gid, 10, 32)
	return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}, err
}

// handOver gives a file to that user.
func handOver(path string) error {
	as, err := account()
	if err != nil || as == nil {
		return err
	}
	return os.Chown(path, int(as.Uid), int(as.Gid))
}

// stepDown has a command run as that user. handOver was called before and has said what is wrong.
func stepDown(cmd *exec.Cmd) {
	if as, err := account(); err == nil && as != nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: as}
	}
}
