package simulation

import (
	"maps"
	"slices"

	"muster/shard"
)

// update acts on a new map, a new session or a new copy.
func (p *process) update() {
	p.settleGrants()
	if p.session.stored && p.view.Ended(p.session.id) {
		p.register()
	}
	for _, name := range slices.Sorted(maps.Keys(p.view.Types)) {
		for _, pl := range p.view.Types[name].Placements {
			if pl == nil {
				continue
			}
			c, mine := pl.CopyOn(p.n.disk.directory)
			if !mine {
				continue
			}
			if c.State == shard.CopyMinted {
				p.create(pl.Shard, c.ID)
			}
			if h := p.host(c.ID); h != nil {
				h.shown(pl)
			}
		}
	}
}

// reports repeats what the map does not show yet.
func (p *process) reports() {
	for _, name := range slices.Sorted(maps.Keys(p.view.Types)) {
		for _, pl := range p.view.Types[name].Placements {
			if pl == nil {
				continue
			}
			c, mine := pl.CopyOn(p.n.disk.directory)
			h := p.host(c.ID)
			switch {
			case !mine:
			case c.State == shard.CopyMinted && h != nil:
				p.report(shard.Report{Kind: shard.ReportReady, Shard: pl.Shard, Copy: c.ID})
			case c.State == shard.CopyReady && h == nil:
				p.report(shard.Report{Kind: shard.ReportLost, Shard: pl.Shard, Copy: c.ID})
			case h != nil:
				h.reportSelf()
			}
		}
	}
}
