package region

import (
	"sync/atomic"
	"time"
)

// A pause falls into the first bucket whose bound it does not exceed; bounds grow by a fifth.
const (
	leastPause   = 100 * time.Microsecond
	pauseBuckets = 72 // the last bound is about 40 s; what is longer counts there
)

var pauseBounds = func() (bounds [pauseBuckets]time.Duration) {
	at := float64(leastPause)
	for i := range bounds {
		bounds[i] = time.Duration(at)
		at *= 1.2
	}
	return bounds
}()

// pauses measures planned hand-offs of this node's shards. Safe for concurrent use.
type pauses struct {
	stalled atomic.Uint64
	longest atomic.Int64
	buckets [pauseBuckets]atomic.Uint64
}

func (p *pauses) add(d time.Duration) {
	i := 0
	for i < pauseBuckets-1 && d > pauseBounds[i] {
		i++
	}
	p.buckets[i].Add(1)
	for {
		was := p.longest.Load()
		if int64(d) <= was || p.longest.CompareAndSwap(was, int64(d)) {
			return
		}
	}
}

// HandOffs tells how long shards that this node handed over were paused: from the moment when it took no more commands to
// the moment when it saw the next owner serve: by the map, and for a journaled shard by what that owner has confirmed.
type HandOffs struct {
	Count   uint64 // that were completed
	Stalled uint64 // that were given up because a handler or a copy took too long; the shard stayed
	P50     time.Duration
	P99     time.Duration // like P50 an upper bound, at most a fifth too high
	Max     time.Duration // exact
}

// HandOffs returns what was measured since the region started.
func (r *Region) HandOffs() HandOffs {
	var counts [pauseBuckets]uint64
	h := HandOffs{Stalled: r.copies.pauses.stalled.Load(), Max: time.Duration(r.copies.pauses.longest.Load())}
	for i := range counts {
		counts[i] = r.copies.pauses.buckets[i].Load()
		h.Count += counts[i]
	}
	h.P50, h.P99 = min(quantile(&counts, h.Count, 50), h.Max), min(quantile(&counts, h.Count, 99), h.Max)
	return h
}

func quantile(counts *[pauseBuckets]uint64, all, percent uint64) time.Duration {
	seen := uint64(0)
	for i, n := range counts {
		if seen += n; n > 0 && seen*100 >= all*percent {
			return pauseBounds[i]
		}
	}
	return 0
}
