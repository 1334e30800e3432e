package region

import (
	"testing"
	"time"

	"muster/internal/boottime"
)

// The clock of leases agrees with CLOCK_BOOTTIME, however many ask it and whether it looked or reckoned.
func TestLeaseClockAgrees(t *testing.T) {
	var c leaseClock
	for range 100_000 {
		before := boottime.Now()
		now := c.now()
		after := boottime.Now()
		if now < before-clockSlack {
			t.Fatalf("it tells %s when it is at least %s", now, before)
		}
		if now > after+5*time.Second { // as late as a look was interrupted, which only ends a lease early
			t.Fatalf("it tells %s when it is at most %s", now, after)
		}
	}
}

// A machine that slept is noticed at once: the wall clock has moved against the monotonic one, and the look is not believed.
func TestLeaseClockNoticesASleep(t *testing.T) {
	var c leaseClock
	c.now()
	asleep := *c.look.Load()
	asleep.gap -= time.Hour // as if the look had been taken before an hour's sleep
	asleep.boot -= time.Hour
	c.look.Store(&asleep)
	if now, truth := c.now(), boottime.Now(); now < truth-clockSlack {
		t.Errorf("it tells %s, an hour behind %s", now, truth)
	}
}

func BenchmarkLeaseClock(b *testing.B) {
	var c leaseClock
	for b.Loop() {
		c.now()
	}
}
