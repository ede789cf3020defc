package redistest

import "syscall"

// attributes makes the kernel kill the server if the test binary dies before its cleanups run, at a timeout for
// example.
func attributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
}
