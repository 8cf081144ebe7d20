//go:build !unix

package postgrestest

import "os/exec"

// handOver is for systems whose root PostgreSQL refuses.
func handOver(string) error { return nil }

func stepDown(*exec.Cmd) {}
