package coordinator

import (
	"os"

	"golang.org/x/sys/unix"
)

// syncData makes what was written to a file that has its size durable, without its times.
func syncData(f *os.File) error { return unix.Fdatasync(int(f.Fd())) }
