package redistest

import "syscall"

// attributes makes the kernel end the server when the test binary ends without its cleanups, at a timeout for example.
func attributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
}
