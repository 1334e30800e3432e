package simulation

import (
	"slices"
	"time"

	"muster/shard"
)

// A directory is set back to what was copied from it some time ago: the number of its session, and its journal. Nobody can tell
// that the data are old by looking at them, and what they hold was true once. Raft's store is not set back: what a voter has promised
// there, Raft has to find again.

// setBack copies a node's directory, and puts the copy in its place when a later session of it is known.
func (w *world) setBack(n *node) {
	saved, directory := n.disk.saved(), n.disk.directory
	if saved.session == 0 || n.process == nil {
		return
	}
	w.kill(n, w.between(0, time.Second)) // the next process has another session
	w.insist(300*time.Millisecond, 8*time.Second, func(bool) bool {
		now := n.disk
		if now.directory != directory || w.healed {
			return true
		}
		if n.process == nil || !w.renewed(now.session) || now.session == saved.session || w.ruins(n) {
			return false
		}
		if back := w.between(0, 3*time.Second); w.kill(n, back) {
			w.did(SetBack, "%s, to session %d from %d, away for %s", n.id, saved.session, now.session, back)
			n.disk.lose()
			now.session, now.copies = saved.session, saved.restored()
		}
		return true
	})
}

// renewed reports whether the group knows that a live session is stored.
func (w *world) renewed(id shard.SessionID) bool {
	number, live := w.raft.state().Renewal(id)
	return live && number > 0
}

// saved copies what is durable.
func (d *disk) saved() *disk {
	was := &disk{session: d.session}
	for _, s := range d.copies {
		was.copies = append(was.copies, s.clone())
	}
	return was
}

func (s *stored) clone() *stored {
	was := *s
	was.log = s.log.shared()
	if s.staged != nil {
		staged := *s.staged
		staged.log = s.staged.log.shared()
		was.staged = &staged
	}
	return &was
}

// restored returns the copies as they were. None of them may answer anybody any more.
func (d *disk) restored() []*stored {
	for _, s := range d.copies {
		s.lost, s.past = true, true
	}
	return slices.Clone(d.copies)
}
