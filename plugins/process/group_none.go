//go:build !unix

package process

import "os/exec"

func ownGroup(*exec.Cmd) {}

// kill ends the child at once; its own children stay.
func (c *child) kill() { _ = c.cmd.Process.Kill() } // it has ended already
