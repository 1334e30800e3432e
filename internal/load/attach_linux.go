package load

import "syscall"

// Attached has the system kill a program that is started with it when the one that started it is gone.
func Attached() *syscall.SysProcAttr { return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL} }
