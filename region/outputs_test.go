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

// A read waits for the records of its own entity, and not for those of the reads before it. While the lease runs it waits for no round, even if one
// was begun for it, and without a lease it leaves with a round alone.
func TestReadsWaitForTheirOwnGrounds(t *testing.T) {
	var o outputs
	for _, g := range []grounds{{at: 9, expires: 1}, {at: 1, expires: 2}, {at: 2, round: 7, expires: 3}, {at: 3, round: 8, expires: 4}, {at: 3, expires: 5}} {
		o.reads.push(&call{grounds: g})
	}
	for _, step := range []struct {
		confirmed shard.LSN
		round     uint64
		leased    bool
		want      []time.Duration // when those that leave would have expired
	}{
		{9, 6, false, nil}, {3, 7, false, []time.Duration{3}}, {2, 7, true, []time.Duration{2}}, {3, 7, true, []time.Duration{4, 5}}, {9, 7, true, []time.Duration{1}},
	} {
		var gone []time.Duration
		o.settled(step.confirmed, step.round, step.leased, func(c *call) { gone = append(gone, c.expires) })
		if !slices.Equal(gone, step.want) {
			t.Errorf("with %d confirmed, round %d, a lease %t: %v leave, not %v", step.confirmed, step.round, step.leased, gone, step.want)
		}
	}
	if o.len() > 0 {
		t.Errorf("%d are left", o.len())
	}
}
