//go:build !linux

package boottime

import (
	"fmt"
	"time"

	"golang.org/x/sys/unix"
)

// Now is the time since the machine booted. Any goroutine may call it; it is a system call.
//
// There is no CLOCK_BOOTTIME here. CLOCK_MONOTONIC goes on in suspension on macOS; elsewhere that is the system's choice, and where it
// stands still a machine that was suspended finds a lease of before that is over: no node should run on one that is.
func Now() time.Duration {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts); err != nil {
		panic(fmt.Sprintf("no CLOCK_MONOTONIC: %v", err)) // POSIX has it
	}
	return time.Duration(ts.Nano())
}
