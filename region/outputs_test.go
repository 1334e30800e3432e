package region

import (
	"slices"
	"testing"
	"time"

	"muster/shard"
)

// The retry of an old command comes late and waits before younger records, as long as anyone: they do not wait for it to expire.
func TestLateRetryDelaysNobody(t *testing.T) {
	var o outputs
	at := func(lsn shard.LSN, expires time.Duration) *call {
		return &call{grounds: grounds{at: lsn, expires: expires}}
	}
	for lsn := shard.LSN(5); lsn < 8; lsn++ {
		o.records.push(at(lsn, time.Duration(lsn)))
	}
	if c, i := o.record(2); c != nil || i != 0 {
		t.Fatalf("record 2 waits at %d: %v", i, c)
	}
	o.insert(0, at(2, 100))
	for _, step := range []struct {
		now  time.Duration
		want []shard.LSN
	}{{4, nil}, {6, []shard.LSN{5, 6}}, {99, []shard.LSN{7}}, {100, []shard.LSN{2}}} {
		var gone []shard.LSN
		o.expired(step.now, func(c *call, recorded bool) {
			if !recorded {
				t.Errorf("record %d is called a read", c.at)
			}
			gone = append(gone, c.at)
		})
		if !slices.Equal(gone, step.want) {
			t.Errorf("at %d records %v expire, not %v", step.now, gone, step.want)
		}
	}
	if o.len() > 0 || o.late {
		t.Errorf("%d wait, late: %v", o.len(), o.late)
	}
}
