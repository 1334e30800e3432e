// Package node is Muster for embedding: a node of a group, which owns entities and talks to those of all nodes.
//
//	n, err := node.Start(ctx, node.Config{
//		ID: "n1", Addr: "10.0.0.1:7420", Dir: "/var/lib/muster", Seeds: seeds, TLS: secure, Hosts: entity.Types(accounts),
//	})
//	b, err := Deposit.Ask(ctx, n, "alice", DepositCmd{Amount: 100})
//	err = n.Shutdown(ctx)
//
// The package wires the other ones together and decides nothing itself; start.go says in which order and why.
package node

import (
	"context"
	"fmt"
	"sync"

	"muster/barrier"
	"muster/coordinator"
	"muster/entity"
	"muster/fsm"
	"muster/journal"
	"muster/region"
	"muster/shard"
	"muster/transport"
)

// A Node is one member of a group, running in this process. It is an entity.Sender. Methods are safe for concurrent use.
//
// When a disk fails, or this node may not go on for another reason, it stops for good: Failed is closed, Err says why, and
// every call fails with CodeClosed. The embedding program goes on and decides what to do.
type Node struct {
	cfg         Config
	parts       parts
	coordinator *coordinator.Coordinator
	region      *region.Region
	port        *transport.Port
	journal     *journal.Journal
	maps        maps
	stop        stop
}

// stop is the end of a node: why and how far.
type stop struct {
	failed  chan struct{} // closed by the first fault
	begun   chan struct{} // closed when the node goes down, for whatever reason
	done    chan struct{} // closed when everything is down
	watched chan struct{} // closed when the goroutine that waits for faults has ended
	mu      struct {
		sync.Mutex
		begun bool
		fault error // the fault that stopped it
		err   error // what went wrong while stopping
	}
}

// Ask sends a command to an entity, wherever it is, and returns its reply. It retries inside, with the same request id, until
// ctx ends. It fails with *shard.Error.
func (n *Node) Ask(ctx context.Context, e entity.Envelope) ([]byte, error) {
	return n.region.Ask(ctx, e)
}

// OneWay implements [entity.OneWaySender]: it returns when the command is on its way, and nobody hears what becomes of it. It
// waits while the lane to the owner's node is full or the shard has no owner, until ctx's deadline or, without one, for
// Tuning.Region.Timeout. Its errors mean that nothing was sent.
func (n *Node) OneWay(ctx context.Context, e entity.Envelope) error { return n.region.OneWay(ctx, e) }

// Dropped returns how many one-way commands this node has dropped since it started, as owner or on their way there.
func (n *Node) Dropped() uint64 { return n.region.Dropped() }

// Tell sends a command to an entity and returns when it is confirmed. It fails as Ask does.
func (n *Node) Tell(ctx context.Context, e entity.Envelope) error { return n.region.Tell(ctx, e) }

// ID returns the node's name.
func (n *Node) ID() shard.NodeID { return n.cfg.ID }

// Addr returns the address others dial, with the port the system chose if it did.
func (n *Node) Addr() string { return n.port.Addr() }

// Self returns this node as the group knows it; ok is false while this node's map does not show it.
func (n *Node) Self() (self shard.Member, ok bool) {
	self, ok = n.coordinator.View().Members[n.cfg.ID]
	return self, ok
}

// View returns the newest map this node has, without asking anyone. Immutable.
func (n *Node) View() *shard.View { return n.coordinator.View() }

// State is what a node knows of its group. Read-only.
type State = coordinator.Inspection

// State returns the state of the group as it is at some moment during the call, with everything that was decided before.
// It takes a leader, and fails with CodeNoLeader when there is none within ctx.
func (n *Node) State(ctx context.Context) (*State, error) { return n.coordinator.Inspect(ctx, true) }

// Inspect returns what this node knows by itself, which may be old: see State.Age. It asks nobody and never waits.
func (n *Node) Inspect() *State {
	s, _ := n.coordinator.Inspect(context.Background(), false) // only the other kind can fail
	return s
}

// HandOffs is how long shards were paused that a node handed over in good order.
type HandOffs = region.HandOffs

// HandOffs returns what this node measured since it started.
func (n *Node) HandOffs() HandOffs { return n.region.HandOffs() }

// JournalStats counts what a node's journal has done since it was opened.
type JournalStats = journal.Stats

// JournalStats returns the counters of this node's journal, of all its copies together.
func (n *Node) JournalStats() JournalStats { return n.journal.Stats() }

// WaitFor returns when this node's map shows that many members up. It fails with CodeTimeout when ctx ends first and
// CodeClosed when the node stops.
func (n *Node) WaitFor(ctx context.Context, members int) error {
	return n.await(ctx, func(v *shard.View) error {
		if up := upIn(v); up < members {
			return fmt.Errorf("%d of %d members are up", up, members)
		}
		return nil
	})
}

// WaitActive returns when every shard of the types that this node hosts is served by some node. It fails as WaitFor does.
func (n *Node) WaitActive(ctx context.Context) error {
	return n.await(ctx, func(v *shard.View) error {
		for _, d := range n.cfg.Hosts {
			if err := active(v, d.Spec().Name); err != nil {
				return err
			}
		}
		return nil
	})
}

func active(v *shard.View, name shard.TypeName) error {
	t := v.Types[name]
	if t == nil {
		return fmt.Errorf("type %s is not registered", name)
	}
	for number, p := range t.Placements {
		if p == nil || p.Status != shard.Active {
			return fmt.Errorf("shard %s/%d is not active", name, number)
		}
	}
	return nil
}

func upIn(v *shard.View) (up int) {
	for id := range v.Members {
		if v.Up(id) {
			up++
		}
	}
	return up
}

// Barrier arrives at the named barrier and waits until as many parties as it takes are in, whatever nodes and clients they
// arrive from. The first to arrive says how many; another number is CodeMismatch. participant names this party, so that a
// repeated arrival is the same one; "" makes it a party of its own.
//
// CodeTimeout with a certain outcome means that the arrival was taken back. Because that has to be certain, the call may return up to
// three seconds after the deadline of ctx. CodeReplaced means that a later call of the same participant waits in the place of this
// one. After an error whose outcome is unknown the barrier may have counted this party.
func (n *Node) Barrier(ctx context.Context, name string, parties int, participant string) (barrier.Outcome, error) {
	return n.coordinator.Arrive(ctx, name, parties, participant)
}

// RequiredQuorum returns how the group's quorum gate stands as this node's map has it: how many members must be up, how many
// are, and who is missing.
func (n *Node) RequiredQuorum() fsm.Gate { return (&fsm.State{View: n.coordinator.View()}).Gate() }

// SetRequiredQuorum sets how many members must be up; 0 means no requirement. Repeating it is harmless.
func (n *Node) SetRequiredQuorum(ctx context.Context, members int) error {
	return n.coordinator.Require(ctx, members)
}

var _ entity.Sender = (*Node)(nil)
