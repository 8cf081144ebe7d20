package statestore

import (
	"os"
	"strings"
)

// bootID names the boot of this machine: what a process wrote without a flush survives the process, not the boot. Empty: not known.
func bootID() string {
	id, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(id))
}
