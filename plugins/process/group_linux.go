package process

import "syscall"

// groupAttributes: the kernel ends the child too when this process is killed.
func groupAttributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}
