package coordinator

import (
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// Boottime is the time since the machine booted, suspension included. Leases are counted on it: a process that was
// paused, or a machine that slept, finds its lease over. Go's own monotonic clock stands still while the machine sleeps.
func Boottime() time.Duration {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts); err != nil {
		panic(fmt.Sprintf("no CLOCK_BOOTTIME: %v", err)) // Linux has had it since 2.6.39
	}
	return time.Duration(ts.Nano())
}

// bootID names the running kernel: another one has another, also on the same machine.
func bootID() ([]byte, error) { return os.ReadFile("/proc/sys/kernel/random/boot_id") }
