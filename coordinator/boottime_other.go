//go:build !linux

package coordinator

import (
	"fmt"
	"time"

	"github.com/google/uuid"
	"golang.org/x/sys/unix"
)

// Boottime is the time since the machine booted, suspension included. Leases are counted on it: a process that was
// paused, or a machine that slept, finds its lease over. Go's own monotonic clock stands still while the machine sleeps.
//
// There is no CLOCK_BOOTTIME here. CLOCK_MONOTONIC goes on in suspension on macOS; elsewhere that is the system's choice, and where it
// stands still a machine that was suspended finds a lease of before that is over: no node should run on one that is.
func Boottime() time.Duration {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts); err != nil {
		panic(fmt.Sprintf("no CLOCK_MONOTONIC: %v", err)) // POSIX has it
	}
	return time.Duration(ts.Nano())
}

// bootID names this process's look at the kernel alone, as nothing here names a boot in one way. So a later process of a directory never proves
// that the one before is gone, and what waits for that waits for the lease instead.
func bootID() ([]byte, error) { return []byte(uuid.NewString()), nil }
