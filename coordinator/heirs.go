package coordinator

import (
	"maps"
	"sync"

	"muster/shard"
)

// heirs are the sessions whose processes know how to lead an epoch that is active from its beginning, as one that is handed over
// can be. They say so with each renewal. A process of an earlier build does not: it waits to be told to establish the epoch, and the
// shard would be served by nobody. So what is handed to it is activated later, when it reports that it is ready.
//
// What a process knows does not change while it lives, so this outlives a leadership. Safe for concurrent use.
type heirs struct {
	mu struct {
		sync.Mutex
		sessions map[shard.SessionID]bool // live when the newest was added
	}
}

// add notes a session of the map, and forgets those that are over.
func (h *heirs) add(v *shard.View, id shard.SessionID) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if _, live := v.Sessions[id]; !live || h.mu.sessions[id] {
		return
	}
	maps.DeleteFunc(h.mu.sessions, func(old shard.SessionID, _ bool) bool { return v.Ended(old) })
	if h.mu.sessions == nil {
		h.mu.sessions = map[shard.SessionID]bool{}
	}
	h.mu.sessions[id] = true
}

func (h *heirs) has(id shard.SessionID) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.mu.sessions[id]
}
