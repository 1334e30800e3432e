package shard

import (
	"cmp"
	"fmt"
)

// Position is a place in a shard's log together with the epoch whose primary wrote it. Two logs that hold the same
// Position hold the same records up to it (Raft's log matching).
type Position struct {
	Epoch Epoch `cbor:"1,keyasint"`
	LSN   LSN   `cbor:"2,keyasint"`
}

func (p Position) String() string { return fmt.Sprintf("%d@%d", p.LSN, p.Epoch) }

// Compare orders by epoch, then LSN: the order in which an election prefers logs. The length alone never decides.
func (p Position) Compare(other Position) int {
	if c := cmp.Compare(p.Epoch, other.Epoch); c != 0 {
		return c
	}
	return cmp.Compare(p.LSN, other.LSN)
}

// EpochStart says that the records from First on, up to the next EpochStart, were written in Epoch.
type EpochStart struct {
	Epoch Epoch `cbor:"1,keyasint"`
	First LSN   `cbor:"2,keyasint"`
}

// History lists the epochs of a log, epochs and positions rising. It answers which epoch wrote an LSN without reading
// the record.
type History []EpochStart

// At returns the epoch that wrote lsn, 0 for lsn 0 or one before the history begins. The caller bounds lsn by the log's end.
func (h History) At(lsn LSN) Epoch {
	for i := len(h) - 1; i >= 0; i-- {
		if lsn >= h[i].First {
			return h[i].Epoch
		}
	}
	return 0
}

// Extend returns the history after a record at p was appended. It never writes to the receiver's array.
func (h History) Extend(p Position) History {
	if n := len(h); n > 0 && h[n-1].Epoch == p.Epoch {
		return h
	}
	return append(h[:len(h):len(h)], EpochStart{p.Epoch, p.LSN})
}

// Truncate returns the history of the log without the records from lsn on.
func (h History) Truncate(lsn LSN) History {
	for len(h) > 0 && h[len(h)-1].First >= lsn {
		h = h[:len(h)-1]
	}
	return h
}

// After returns the history of the log without its records up to p: as if p's epoch began at p.
func (h History) After(p Position) History {
	if p.LSN == 0 {
		return h
	}
	rest := h
	for len(rest) > 0 && rest[0].First <= p.LSN {
		rest = rest[1:]
	}
	return append(History{{p.Epoch, p.LSN}}, rest...)
}

// SealItem asks one copy to promise never to follow an epoch below Epoch again.
type SealItem struct {
	Shard ID
	Copy  CopyID
	Epoch Epoch
}

// Sealed is a copy's answer: the promise is durable, and so is every record up to Last, which counts each append it
// accepted before. Fault is set, and nothing else holds, when the copy could not promise.
type Sealed struct {
	Shard     ID
	Copy      CopyID
	Epoch     Epoch // the epoch asked for; an answer of another epoch is dropped
	Last      Position
	History   History
	Confirmed LSN
	Led       bool // this copy led the epoch before and has stopped: nothing of it is confirmed any more
	Fault     *Error
}
