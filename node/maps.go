package node

import (
	"context"
	"sync"

	"muster/shard"
)

// maps tells waiters of every newer map. The coordinator is the only one to call show.
type maps struct {
	mu struct {
		sync.Mutex
		now     *shard.View
		changed chan struct{} // closed by the next show
	}
}

func (m *maps) show(v *shard.View) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.mu.now = v
	if m.mu.changed != nil {
		close(m.mu.changed)
		m.mu.changed = nil
	}
}

// look returns the newest map and a channel that a newer one closes.
func (m *maps) look() (*shard.View, <-chan struct{}) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.mu.now == nil {
		m.mu.now = shard.NewView()
	}
	if m.mu.changed == nil {
		m.mu.changed = make(chan struct{})
	}
	return m.mu.now, m.mu.changed
}

// await returns when the map shows what is wanted: when missing finds nothing to complain of.
func (n *Node) await(ctx context.Context, missing func(*shard.View) error) error {
	for {
		v, changed := n.maps.look()
		lack := missing(v)
		select {
		case <-n.stop.begun: // its map is that of another day
			return n.closed()
		default:
		}
		if lack == nil {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return shard.Errorf(shard.CodeTimeout, "%v", lack)
		case <-n.stop.begun:
			return n.closed()
		}
	}
}
