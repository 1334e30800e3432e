package coordinator

import (
	"maps"
	"sync"

	"muster/fsm"
	"muster/shard"
)

// heirs are the sessions whose processes know how to lead an epoch that is active from its beginning, as one that is handed over
// can be. They say so with each renewal. A process of an earlier build does not: it waits to be told to establish the epoch, and the
// shard would be served by nobody. So what is handed to it is activated later, when it reports that it is ready. They say also which
// entries they read, so that a voter of an earlier build is not sent what would stop it.
//
// What a process knows does not change while it lives, so this outlives a leadership. Safe for concurrent use.
type heirs struct {
	mu struct {
		sync.Mutex
		sessions map[shard.SessionID]byte // live when the newest was added: the version of entries each reads
	}
}

// add notes a session of the map and what it reads, and forgets those that are over.
func (h *heirs) add(v *shard.View, id shard.SessionID, reads byte) {
	h.mu.Lock()
	defer h.mu.Unlock()
	_, known := h.mu.sessions[id]
	if _, live := v.Sessions[id]; !live || known {
		return
	}
	maps.DeleteFunc(h.mu.sessions, func(old shard.SessionID, _ byte) bool { return v.Ended(old) })
	if h.mu.sessions == nil {
		h.mu.sessions = map[shard.SessionID]byte{}
	}
	h.mu.sessions[id] = reads
}

func (h *heirs) has(id shard.SessionID) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	_, known := h.mu.sessions[id]
	return known
}

// reads is the newest version of entries that every voter has said it reads, 0 when one has not said anything or is down: it may be of
// an earlier build, and would have to stop.
func (h *heirs) reads(v *shard.View) byte {
	h.mu.Lock()
	defer h.mu.Unlock()
	version := byte(fsm.Version)
	for _, m := range v.Members {
		switch {
		case !m.Voter:
		case v.Up(m.ID):
			version = min(version, h.mu.sessions[m.Session])
		default:
			return 0
		}
	}
	return version
}
