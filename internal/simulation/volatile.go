package simulation

import (
	"time"

	"muster/shard"
)

// serving is who was last seen to let an output of a volatile shard leave.
type serving struct {
	epoch shard.Epoch
	node  shard.NodeID
	at    time.Duration
}

// volatileOf answers a request for a volatile shard; false when the shard is of another type. The owner looks at its map
// and its lease before the handler runs and once more before the output leaves, and nothing else stops it.
func (p *process) volatileOf(r request) bool {
	if t := p.view.Types[r.shard.Type]; t == nil || !t.Spec.Volatile {
		return false
	}
	epoch, owns := p.ownsVolatile(r.shard)
	if !owns {
		r.reply(answer{kind: refused})
		return true
	}
	p.after(p.n.w.between(0, 20*time.Millisecond), func() {
		if now, still := p.ownsVolatile(r.shard); !still || now != epoch {
			r.reply(answer{kind: unknown})
			return
		}
		p.n.w.check.volatileOutput(p, r.shard, epoch)
		r.reply(answer{kind: done})
	})
	return true
}

func (p *process) ownsVolatile(id shard.ID) (shard.Epoch, bool) {
	pl := p.view.Placement(id)
	if pl == nil || pl.Status != shard.Active || !p.session.stored || pl.Session != p.session.id || p.n.local() >= p.session.until {
		return 0, false
	}
	return pl.Epoch, true
}

// shards lists every shard there will be.
func (s *setup) shards() []shard.ID {
	var ids []shard.ID
	for _, spec := range s.specs {
		for n := range spec.Shards {
			ids = append(ids, shard.ID{Type: spec.Name, Number: shard.Number(n)})
		}
	}
	return ids
}
