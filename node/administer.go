package node

import (
	"context"
	"time"

	"muster/coordinator"
	"muster/fsm"
	"muster/shard"
)

// Cordon says whether anything new may be placed on a node. This and the other orders are carried out by the group's leader and
// may be repeated. They fail with CodeConflict when they would endanger data.
func (n *Node) Cordon(ctx context.Context, id shard.NodeID, on bool) error {
	return n.order(ctx, coordinator.Order{Kind: coordinator.Cordon, Node: id, On: on})
}

// Maintain says that a node will be down and come back, so that its copies are not rebuilt elsewhere. The leader ends it after
// the time; 0 means no end.
func (n *Node) Maintain(ctx context.Context, id shard.NodeID, on bool, after time.Duration) error {
	return n.order(ctx, coordinator.Order{Kind: coordinator.Maintain, Node: id, On: on, For: after})
}

// Drain has everything moved off a node, or no longer. It returns at once: the map shows what is left.
func (n *Node) Drain(ctx context.Context, id shard.NodeID, on bool) error {
	return n.order(ctx, coordinator.Order{Kind: coordinator.Drain, Node: id, On: on})
}

// PauseBalance stops the moving of shards for balance alone, or lets it go on. The leader ends it after the time; 0 means no
// end.
func (n *Node) PauseBalance(ctx context.Context, on bool, after time.Duration) error {
	return n.order(ctx, coordinator.Order{Kind: coordinator.Pause, On: on, For: after})
}

// History returns the newest changes of a shard, oldest first, as the leader has them.
func (n *Node) History(ctx context.Context, id shard.ID) ([]fsm.Change, error) {
	return n.coordinator.History(ctx, id)
}

func (n *Node) order(ctx context.Context, o coordinator.Order) error {
	_, err := n.coordinator.Administer(ctx, o)
	return err
}
