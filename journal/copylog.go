package journal

import (
	"fmt"

	"muster/replication"
	"muster/shard"
)

// head is what a copy's log amounts to.
type head struct {
	promised  shard.Epoch
	base      shard.Position // right before the first record
	last      shard.Position
	history   shard.History
	confirmed shard.LSN // a hint: at least these records were confirmed
}

// emptyHead is the head of a log that starts after base and has no records yet.
func emptyHead(promised shard.Epoch, base shard.Position) head {
	return head{promised: promised, base: base, last: base, history: shard.History(nil).After(base), confirmed: base.LSN}
}

// copyLog is what the journal knows of one copy. It lives under Journal.mu, but for value.
//
// Invariant: places holds LSN durable.base+1 to durable.last.
type copyLog struct {
	copy       shard.CopyID
	shard      shard.ID
	queued     head    // after every write submitted
	durable    head    // after every write that is on disk
	staged     Staging // after every Stage submitted
	places     index
	generation uint64 // of what is apart, on disk
	installs   int    // submitted and not on disk
	created    bool   // its creation is durable
	removing   bool   // Remove was called
	damaged    error
	value      copyValue // belongs to Journal.run
	reader     LogReader // of Open alone
}

func (h head) state(id shard.CopyID) replication.State {
	return replication.State{
		Copy: id, Promised: h.promised, Base: h.base, Last: h.last, History: h.history, Confirmed: min(h.confirmed, h.last.LSN),
	}
}

// after returns the head once w is stored, or why w does not fit the log.
func (h head) after(w *replication.Write) (head, error) {
	if w.Promise > 0 && w.Promise < h.promised {
		return h, fmt.Errorf("promise %d goes back from %d", w.Promise, h.promised)
	}
	h.promised = max(h.promised, w.Promise)
	if w.Install.LSN > 0 {
		if w.Install.LSN <= h.confirmed || w.Install.Epoch == 0 {
			return h, fmt.Errorf("install %s over a log that is confirmed to %d", w.Install, h.confirmed)
		}
		h = emptyHead(h.promised, w.Install)
	}
	if w.Truncate > 0 {
		if err := h.truncate(w.Truncate); err != nil {
			return h, err
		}
	}
	for i := range w.Records {
		if err := h.extend(w.Records[i].Position); err != nil {
			return h, err
		}
		if n := w.Records[i].EncodedSize(); n > replication.MaxRecordSize {
			return h, fmt.Errorf("record %s has %d bytes, the limit is %d", w.Records[i].Position, n, replication.MaxRecordSize)
		}
	}
	h.confirmed = max(h.confirmed, w.Confirmed)
	return h, nil
}

func (h *head) truncate(from shard.LSN) error {
	if from > h.last.LSN+1 || from <= h.confirmed {
		return fmt.Errorf("truncation at %d of a log that ends at %d and is confirmed to %d", from, h.last.LSN, h.confirmed)
	}
	h.history = h.history.Truncate(from)
	h.last = shard.Position{Epoch: h.history.At(from - 1), LSN: from - 1}
	return nil
}

func (h *head) extend(p shard.Position) error {
	if p.LSN != h.last.LSN+1 || p.Epoch < h.last.Epoch || p.Epoch == 0 {
		return fmt.Errorf("record %s does not follow %s", p, h.last)
	}
	h.last, h.history = p, h.history.Extend(p)
	return nil
}

// start returns the head of the log without its records up to base.
func (h head) start(base shard.LSN) head {
	h.base = shard.Position{Epoch: h.history.At(base), LSN: base}
	h.history = h.history.After(h.base)
	h.confirmed = max(h.confirmed, base)
	return h
}
