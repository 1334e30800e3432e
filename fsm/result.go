package fsm

import (
	"muster/barrier"
	"muster/shard"
)

// Result is what applying one entry did. Delta and Releases share memory with the state: read-only.
type Result struct {
	Index    shard.Index
	Verdicts []Verdict         // one for each command, in order; nil when Fault is set
	Delta    shard.Delta       // what changed in the View; Delta.Empty when nothing but the index
	Releases []barrier.Release // the barriers the entry opened
	Fault    *shard.Error      // the entry could not be read: it changed nothing, on any node
	Newer    bool              // the entry is of a later version: it was not applied and this node must stop
}

// Verdict answers one command. The proposer gets it; it is not part of the state.
type Verdict struct {
	Fault *shard.Error `cbor:"1,keyasint,omitempty"` // the command was refused whole and changed nothing
	// Faults has one element for each item of a batched command, nil for an item that took effect or already had.
	Faults []*shard.Error `cbor:"2,keyasint,omitempty"`
	// Session answers a Register: the session; with CodeSetBack the one that the directory lacks, 0 for none.
	Session shard.SessionID  `cbor:"3,keyasint,omitempty"`
	Again   bool             `cbor:"4,keyasint,omitempty"` // Register: the session existed before this entry
	Barrier *barrier.Outcome `cbor:"5,keyasint,omitempty"` // Arrive and Withdraw, unless refused
}

// Err returns the fault as an error, nil when there is none.
func (v Verdict) Err() error {
	if v.Fault == nil {
		return nil
	}
	return v.Fault
}

// EncodeVerdict writes a verdict for DecodeVerdict.
func EncodeVerdict(v Verdict) ([]byte, error) { return encoding.Marshal(v) }

// DecodeVerdict reads what EncodeVerdict wrote.
func DecodeVerdict(b []byte) (Verdict, error) {
	var v Verdict
	if err := strict.Unmarshal(b, &v); err != nil {
		return Verdict{}, shard.Errorf(shard.CodeInvalid, "verdict cannot be read: %v", err)
	}
	return v, nil
}

func refused(fault *shard.Error) Verdict { return Verdict{Fault: fault} }

func refusef(code shard.Code, format string, args ...any) Verdict {
	return refused(shard.Errorf(code, format, args...))
}

// each applies a batched command item by item. A refused item leaves the others alone.
func each[I any](items []I, apply func(I) *shard.Error) Verdict {
	v := Verdict{Faults: make([]*shard.Error, len(items))}
	for i, item := range items {
		v.Faults[i] = apply(item)
	}
	return v
}

func validItems(n int) *shard.Error {
	if n < 1 || n > MaxItems {
		return shard.Errorf(shard.CodeInvalid, "a batched command has 1 to %d items, not %d", MaxItems, n)
	}
	return nil
}
