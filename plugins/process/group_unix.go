//go:build unix

package process

import (
	"os/exec"
	"syscall"
)

// ownGroup makes the child the head of a group, so that its own children end with it.
func ownGroup(cmd *exec.Cmd) { cmd.SysProcAttr = groupAttributes() }

// kill ends the child and its own children at once.
func (c *child) kill() {
	_ = syscall.Kill(-c.cmd.Process.Pid, syscall.SIGKILL) // nobody is there any more
}
