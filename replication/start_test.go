package replication_test

import (
	"muster/replication"
	"muster/shard"
)

// This file is how logs start later in the explored world. The journals of nodes keep all records so that they can be
// compared; disk.base tells what a copy knows nothing of any more.

// A snapshot is an Install with the log that the staged records stand for.
type snapshot struct {
	replication.Install
	stands journal
}

// replaced returns the journal that a write changes: the node's own, or what an Install makes of it.
func (n *node) replaced(own journal, w *replication.Write) journal {
	if w.Install.LSN != 0 {
		return n.stage[:w.Install.LSN]
	}
	return own
}

// shorten puts apart what the log's records have come to, as far as the copy would let them go, and lets the log start after
// them. That is durable first.
func (w *world) shorten(n *node) bool {
	for lsn := shard.LSN(len(n.log)); lsn > n.disk.base; lsn-- {
		if e, ok := n.copy.Start(lsn); ok {
			w.left.starts--
			n.disk.base, n.disk.confirmed = lsn, max(n.disk.confirmed, lsn)
			w.carry(n, e)
			return true
		}
	}
	return false
}

// install is the arrival of a shard snapshot. Its parts are judged, staged beside the log, and take its place; until the write
// that says so is synced a crash brings the old log back.
func (w *world) install(n *node, m snapshot) {
	e, wanted := n.copy.Offer(m.Install)
	w.carry(n, e)
	if wanted {
		n.stage = m.stands
		w.carry(n, n.copy.Install(m.Install))
	}
}
