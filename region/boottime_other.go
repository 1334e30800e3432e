//go:build !linux

package region

import (
	"fmt"
	"time"

	"golang.org/x/sys/unix"
)

// boottime is what leases are counted on: unlike Go's clock it goes on while the machine sleeps.
//
// There is no CLOCK_BOOTTIME here. CLOCK_MONOTONIC goes on in suspension on macOS; elsewhere that is the system's choice, and where it
// stands still a machine that was suspended finds a lease of before that is over: no node should run on one that is.
func boottime() time.Duration {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts); err != nil {
		panic(fmt.Sprintf("no CLOCK_MONOTONIC: %v", err)) // POSIX has it
	}
	return time.Duration(ts.Nano())
}
