package region

import (
	"fmt"
	"time"

	"golang.org/x/sys/unix"
)

// boottime is what leases are counted on: unlike Go's clock it goes on while the machine sleeps.
func boottime() time.Duration {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts); err != nil {
		panic(fmt.Sprintf("no CLOCK_BOOTTIME: %v", err)) // Linux has had it since 2.6.39
	}
	return time.Duration(ts.Nano())
}
