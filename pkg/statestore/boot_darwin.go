package statestore

import "golang.org/x/sys/unix"

// bootID names the boot of this machine: what a process wrote without a flush survives the process, not the boot. Empty: not known.
func bootID() string {
	id, err := unix.Sysctl("kern.bootsessionuuid")
	if err != nil {
		return ""
	}
	return id
}
