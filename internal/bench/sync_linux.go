package main

import (
	"os"
	"syscall"
)

// syncData is what a journal pays for durability, measured by itself.
func syncData(f *os.File) error { return syscall.Fdatasync(int(f.Fd())) }
