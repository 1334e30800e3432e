package coordinator

import (
	"fmt"
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

// clock counts the time of one coordinator's life. The leader's loop runs on it; that it stands still while the machine
// sleeps only delays an expiry.
type clock struct{ started time.Time }

func newClock() clock { return clock{time.Now()} }

func (c clock) now() time.Duration { return time.Since(c.started) }

// at is the moment on this clock; one before its start is negative.
func (c clock) at(t time.Time) time.Duration { return t.Sub(c.started) }
