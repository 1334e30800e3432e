package load

import (
	"encoding/json"
	"fmt"
	"math/bits"
	"sync/atomic"
	"time"
)

const (
	subBits = 6                              // 64 buckets to a power of two
	octaves = 36                             // up to 2^42 ns, 73 minutes; longer counts as that
	buckets = (octaves + 1) * (1 << subBits) // the first 64 are exact
	longest = 1<<(octaves+subBits) - 1       // ns
)

// A Histogram counts durations in log-linear buckets, as HdrHistogram does: 64 to each power of two, so a quantile is at
// most 1.6 % too high. The zero value is empty. Record is safe for concurrent use; the other methods are not while it runs.
type Histogram struct{ counts [buckets]atomic.Uint64 }

// Record counts one duration.
func (h *Histogram) Record(d time.Duration) { h.counts[bucketOf(d)].Add(1) }

func bucketOf(d time.Duration) int {
	v := uint64(min(max(d, 0), longest))
	if v < 1<<subBits {
		return int(v)
	}
	shift := bits.Len64(v) - subBits - 1
	return shift<<subBits + int(v>>shift)
}

// upper is the longest duration that a bucket counts.
func upper(bucket int) time.Duration {
	if bucket < 2<<subBits {
		return time.Duration(bucket)
	}
	shift := bucket>>subBits - 1
	return time.Duration((bucket&(1<<subBits-1)+1<<subBits+1)<<shift - 1)
}

// Count returns how many durations were recorded.
func (h *Histogram) Count() (n uint64) {
	for i := range h.counts {
		n += h.counts[i].Load()
	}
	return n
}

// Quantile returns a duration that the fraction q of those recorded does not exceed; 0 when nothing was recorded.
func (h *Histogram) Quantile(q float64) time.Duration {
	rank := uint64(q * float64(h.Count()))
	seen, last := uint64(0), 0
	for i := range h.counts {
		n := h.counts[i].Load()
		if n == 0 {
			continue
		}
		seen, last = seen+n, i
		if seen > rank {
			break
		}
	}
	return upper(last)
}

// Add counts everything of another histogram too.
func (h *Histogram) Add(o *Histogram) {
	for i := range o.counts {
		if n := o.counts[i].Load(); n > 0 {
			h.counts[i].Add(n)
		}
	}
}

// MarshalJSON writes the buckets that are not empty, as pairs of their upper bound in ns and their count.
func (h *Histogram) MarshalJSON() ([]byte, error) {
	pairs := [][2]uint64{}
	for i := range h.counts {
		if n := h.counts[i].Load(); n > 0 {
			pairs = append(pairs, [2]uint64{uint64(upper(i)), n})
		}
	}
	return json.Marshal(pairs)
}

// UnmarshalJSON reads what MarshalJSON wrote.
func (h *Histogram) UnmarshalJSON(b []byte) error {
	var pairs [][2]uint64
	if err := json.Unmarshal(b, &pairs); err != nil {
		return fmt.Errorf("histogram: %w", err)
	}
	for i := range h.counts {
		h.counts[i].Store(0)
	}
	for _, p := range pairs {
		h.counts[bucketOf(time.Duration(min(p[0], longest)))].Add(p[1])
	}
	return nil
}
