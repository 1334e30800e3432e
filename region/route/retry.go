package route

import (
	"fmt"

	"muster/shard"
)

// Verdict is what a sender does about an attempt that failed.
type Verdict uint8

const (
	GiveUp   Verdict = iota + 1 // the caller gets the fault
	Again                       // send again, with the same request id, after a short pause or a newer map
	AgainAt                     // send again at once, to Node
	AfterMap                    // send again once the map has reached Epoch for the shard, or after a pause
)

func (v Verdict) String() string {
	return [...]string{"", "give up", "again", "again at", "after map"}[v]
}

// Retry is a Verdict and what it needs.
type Retry struct {
	Verdict Verdict
	Epoch   shard.Epoch
	Node    shard.NodeID
	Addr    string
}

func (r Retry) String() string {
	switch r.Verdict {
	case AgainAt:
		return fmt.Sprintf("again at %s at %s, epoch %d", r.Node, r.Addr, r.Epoch)
	case AfterMap:
		return fmt.Sprintf("after map has epoch %d", r.Epoch)
	default:
		return r.Verdict.String()
	}
}

// After decides what follows a fault. routed is the epoch the failed attempt was routed by. Only faults that come from
// routing are retried: what an entity, a limit or a deadline said is the caller's.
func After(fault *shard.Error, routed shard.Epoch) Retry {
	switch fault.Code {
	case shard.CodeMoved:
		if fault.Addr != "" && fault.Epoch > routed {
			return Retry{Verdict: AgainAt, Epoch: fault.Epoch, Node: fault.Node, Addr: fault.Addr}
		}
		return Retry{Verdict: Again}
	case shard.CodeUnavailable, shard.CodeClosed:
		if fault.Epoch > routed {
			return Retry{Verdict: AfterMap, Epoch: fault.Epoch}
		}
		return Retry{Verdict: Again}
	case shard.CodeBehind:
		return Retry{Verdict: Again}
	default:
		return Retry{Verdict: GiveUp}
	}
}
