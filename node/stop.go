package node

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"muster/shard"
)

// handingOver bounds how long a Shutdown waits for other nodes to take over the shards that this one leads, and beginning for how
// long of that it waits until the last of them are served.
const (
	handingOver = 5 * time.Second
	beginning   = time.Second
)

// A part is something that was opened and has to be closed. Close ends it in good order, kill at once.
type part struct {
	name  string
	close func(context.Context) error
	kill  func() // nil: close with a context that has ended
}

// parts are what is open, in the order of opening.
type parts struct{ open []part }

func (p *parts) add(one part) { p.open = append(p.open, one) }

// closeAll closes what is open, the last opened first: the region answers what it holds while the coordinator still
// renews the lease; the coordinator takes leave and stops Raft while the port still carries its words; the journal outlives
// everyone who writes to it, and the directory's lock goes last, since it says that all of this is over.
func (p *parts) closeAll(ctx context.Context) error {
	var faults []error
	for _, one := range slices.Backward(p.open) {
		if err := one.close(ctx); err != nil {
			faults = append(faults, fmt.Errorf("close %s: %w", one.name, err))
		}
	}
	return errors.Join(faults...)
}

// Shutdown takes the node out of the group in good order: the shards it leads are handed over to other nodes that could lead
// them, for at most 5 s, while everything is served as before; then commands under way are finished, the group is told so
// that it need not wait for a lease to run out, and everything is closed. When ctx ends first the rest goes the hard way; without
// a deadline it waits for handlers as long as they take. It returns when nothing of the node runs any more, also when
// another call or a fault stops the node already.
func (n *Node) Shutdown(ctx context.Context) error {
	if n.begin(nil) {
		n.handOver(ctx)
		n.finish(n.parts.closeAll(ctx))
	}
	<-n.stop.done
	return n.stopErr()
}

// handOver waits until others lead what this node led. What they have not taken then, they take when it is gone.
func (n *Node) handOver(ctx context.Context) {
	if n.coordinator == nil {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, handingOver)
	defer cancel()
	if err := n.coordinator.Leave(ctx); err != nil {
		n.cfg.Logger.Info("not every shard was handed over", "node", n.cfg.ID, "error", err)
	}
	ctx, end := context.WithTimeout(ctx, beginning)
	defer end()
	n.region.Succeeded(ctx)
}

// Kill stops the node as a crash would: nobody is told, nothing is finished, the group learns of it when the lease has
// run out. For tests. It returns when nothing of the node runs any more.
func (n *Node) Kill() {
	if n.begin(nil) {
		n.kill()
	}
	<-n.stop.done
}

func (n *Node) kill() {
	over, cancel := context.WithCancel(context.Background())
	cancel()
	var faults []error
	// The network goes first, as it would: nothing that happens from here on is seen by anyone.
	order := slices.Backward(n.parts.open)
	if n.port != nil {
		n.port.Close(over)
	}
	for _, one := range order {
		if one.kill != nil {
			one.kill()
		} else if err := one.close(over); err != nil && !errors.Is(err, context.Canceled) {
			faults = append(faults, fmt.Errorf("close %s: %w", one.name, err))
		}
	}
	n.finish(errors.Join(faults...))
}

// watch waits for what can stop a node from below, and stops it. It ends when the node goes down, and it joins Serve.
func (n *Node) watch(served <-chan error) {
	defer close(n.stop.watched)
	var fault error
	serving := true
	select {
	case fault = <-served:
		serving = false
		if fault == nil {
			return // the port was closed in good order
		}
	case <-n.journal.Failed():
		fault = n.journal.Err()
	case <-n.coordinator.Failed():
		fault = n.coordinator.Err()
	case <-n.stop.begun:
		<-served
		return
	}
	if n.begin(fault) {
		n.cfg.Logger.Error("the node stops for good", "node", n.cfg.ID, "error", fault)
		go n.kill()
	}
	if serving {
		<-served
	}
}

// begin claims the stopping of the node for the caller; only the first gets it.
func (n *Node) begin(fault error) bool {
	n.stop.mu.Lock()
	defer n.stop.mu.Unlock()
	if n.stop.mu.begun {
		return false
	}
	n.stop.mu.begun, n.stop.mu.fault = true, fault
	if fault != nil {
		close(n.stop.failed)
	}
	close(n.stop.begun)
	return true
}

func (n *Node) finish(err error) {
	<-n.stop.watched
	n.stop.mu.Lock()
	n.stop.mu.err = err
	n.stop.mu.Unlock()
	close(n.stop.done)
}

func (n *Node) stopErr() error {
	n.stop.mu.Lock()
	defer n.stop.mu.Unlock()
	return n.stop.mu.err
}

// Err returns the fault that stopped the node for good, nil while it works and after a Shutdown or Kill.
func (n *Node) Err() error {
	n.stop.mu.Lock()
	defer n.stop.mu.Unlock()
	return n.stop.mu.fault
}

// Failed is closed when a fault stops the node for good; Err says which.
func (n *Node) Failed() <-chan struct{} { return n.stop.failed }

// closed is the error of a call that a stopped node cannot serve.
func (n *Node) closed() error {
	if fault := n.Err(); fault != nil {
		return shard.Errorf(shard.CodeClosed, "node %s was stopped by a fault: %v", n.cfg.ID, fault)
	}
	return shard.Errorf(shard.CodeClosed, "node %s is stopped", n.cfg.ID)
}
