package node

import (
	"time"

	"muster/internal/boottime"
)

// LeaseLeft is for how long the node would go on by its lease if it heard from nobody any more.
func LeaseLeft(n *Node) time.Duration { return n.coordinator.LeaseUntil() - boottime.Now() }
