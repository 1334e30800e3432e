package plan

import (
	"slices"

	"muster/shard"
)

// leftOut is how many records a copy that answered has and the winner has not, the most of any. None of them can have been
// confirmed. They are truncated when their copies follow the winner, which the shard's history tells.
func (m *memory) leftOut(winner shard.CopyID) (most shard.LSN) {
	i := slices.IndexFunc(m.answers, func(a shard.Sealed) bool { return a.Copy == winner })
	if i < 0 {
		return 0
	}
	for _, a := range m.answers {
		most = max(most, a.Last.LSN-shared(m.answers[i], a))
	}
	return most
}

// shared is the last position that both logs hold, at most the end of b. Logs that hold the same position of the same epoch are
// equal up to it, so it lies in the newest epoch that both have. What one copy knows to be confirmed every log has that may be elected.
func shared(a, b shard.Sealed) shard.LSN {
	for i := len(b.History) - 1; i >= 0; i-- {
		if end, has := endOf(a, b.History[i].Epoch); has {
			own, _ := endOf(b, b.History[i].Epoch)
			return max(min(end, own), min(b.Confirmed, b.Last.LSN))
		}
	}
	return min(b.Confirmed, b.Last.LSN)
}

// endOf is the last position that the log has of the epoch.
func endOf(s shard.Sealed, epoch shard.Epoch) (shard.LSN, bool) {
	i := slices.IndexFunc(s.History, func(e shard.EpochStart) bool { return e.Epoch == epoch })
	switch {
	case i < 0:
		return 0, false
	case i == len(s.History)-1:
		return s.Last.LSN, true
	}
	return s.History[i+1].First - 1, true
}
