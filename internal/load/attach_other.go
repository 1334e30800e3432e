//go:build !linux

package load

import "syscall"

// Attached asks for nothing: the system cannot have a program end with the one that started it, so one that is killed leaves others behind.
func Attached() *syscall.SysProcAttr { return nil }
