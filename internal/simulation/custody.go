package simulation

import (
	"slices"

	"muster/region/route"
	"muster/shard"
)

// custody is what a process knows of the copies in its directory.
type custody struct {
	held    []*holding
	hosts   []*host      // of held
	settled bool         // every copy held is known to the map, or is no more
	admits  bool         // likewise, and all that the map shows was followed
	unread  []func()     // what primaries and leaders sent before that
	hushed  shard.CopyID // nobody hears that it was created
	shown   map[shard.ID]*shard.Placement
	version int // of the map that is shown, 0 to look again
}

// holding is a copy that is in the directory, or being created there, or should be there and is not.
type holding struct {
	route.Holding
	shard  shard.ID
	id     shard.CopyID
	host   *host         // nil while it is not hosted
	report *shard.Report // repeated until the map shows its effect; nil for none
}

// open begins to host what the journal holds, but for what is rotten.
func (p *process) open() {
	for _, s := range p.n.disk.copies {
		hd := &holding{shard: s.shard, id: s.id}
		p.held = append(p.held, hd)
		if s.rotten {
			hd.Damage = rotten
			continue
		}
		hd.host = openHost(p, s)
		p.hosts = append(p.hosts, hd.host)
	}
}

// update acts on a new map, a new session or a new copy.
func (p *process) update() {
	p.settleGrants()
	if p.stopped {
		return
	}
	if p.session.stored && p.view.Ended(p.session.id) {
		p.register()
	}
	p.settle()
	version := p.n.w.raft.versions[p.applied]
	if p.version == version {
		return
	}
	p.version = version
	for _, id := range p.n.w.setup.ids {
		if pl := p.view.Placement(id); pl != nil && p.shown[id] != pl {
			p.shown[id] = pl
			p.follow(pl)
		}
	}
	p.nudge()
	p.admits = p.settled
	for p.admits && len(p.unread) > 0 {
		first := p.unread[0]
		p.unread = p.unread[1:]
		first()
	}
}

// admitted handles what a primary or a leader sent as soon as the group has taken the directory for what it is.
func (p *process) admitted(handle func()) {
	if p.admits {
		handle()
		return
	}
	p.unread = append(p.unread, handle)
}

// reshow makes the next update look at every placement again.
func (p *process) reshow() {
	clear(p.shown)
	p.version = 0
}

// settle notes that the map is younger than every copy the directory held at the start.
func (p *process) settle() {
	if p.settled || !route.Settled(p.view, p.adopted(), p.n.disk.directory) {
		return
	}
	p.settled = true
	for _, hd := range p.held {
		if hd.Since == 0 {
			hd.Since = p.view.Index
		}
	}
	p.reshow()
}

// follow acts on a placement that is new to this process.
func (p *process) follow(pl *shard.Placement) {
	if p.n.w.setup.spec(pl.Shard.Type).Volatile {
		p.followVolatile(pl)
		return
	}
	p.retire(pl)
	mine, ok := route.CopyOn(pl, p.n.disk.directory)
	if !ok {
		return
	}
	hd := p.holdingOf(mine.ID)
	if hd == nil {
		if !p.settled {
			return
		}
		hd = &holding{shard: pl.Shard, id: mine.ID, Holding: route.Holding{Since: p.view.Index, Missing: mine.State == shard.CopyReady}}
		p.held = append(p.held, hd)
		if !hd.Missing {
			p.create(hd)
		}
	}
	if hd.Since == 0 {
		hd.Since = p.view.Index
	}
	hd.tell(p, mine)
	if hd.host != nil {
		hd.host.place(pl)
	}
}

func (p *process) holdingOf(id shard.CopyID) *holding {
	i := slices.IndexFunc(p.held, func(hd *holding) bool { return hd.id == id })
	if i < 0 {
		return nil
	}
	return p.held[i]
}

// tell settles what the leader has to be told about the copy.
func (hd *holding) tell(p *process, mine shard.Copy) {
	hd.report = nil
	if r, due := hd.Report(hd.shard, mine); due {
		hd.report = &r
		p.report(r)
	}
}

// retire stops hosting the copies of the shard that do not count any more, and removes the data of those that the map does
// without.
func (p *process) retire(pl *shard.Placement) {
	for _, hd := range slices.Clone(p.held) {
		if hd.shard != pl.Shard {
			continue
		}
		switch fate := hd.Fate(hd.id, pl, p.view.Index); fate {
		case route.Forget:
			p.forget(hd)
		case route.Remove, route.Aside:
			hd.report = nil     // it is known, or of no interest any more
			if hd.host == nil { // it was put aside, or is damaged
				if fate == route.Remove {
					p.remove(hd)
				}
				continue
			}
			if !p.admits { // it has answered nobody, and will not
				p.hosts = slices.DeleteFunc(p.hosts, func(h *host) bool { return h == hd.host })
			}
			hd.host.place(pl) // it may think that it leads
			if !hd.host.copy.Dispensable(pl.Epoch) {
				continue
			}
			p.unhost(hd)
			if fate == route.Remove {
				p.remove(hd)
			}
		}
	}
}

// unhost stops hosting a copy.
func (p *process) unhost(hd *holding) {
	hd.host.depose()
	hd.host.retired = true
	p.hosts = slices.DeleteFunc(p.hosts, func(h *host) bool { return h == hd.host })
	hd.host = nil
}

func (p *process) forget(hd *holding) {
	p.held = slices.DeleteFunc(p.held, func(other *holding) bool { return other == hd })
}

// remove takes the copy's data out of the directory.
func (p *process) remove(hd *holding) {
	p.forget(hd)
	d, w := p.n.disk, p.n.w
	w.counts.retired++
	w.log("%s: %s: copy %d is not needed any more", p.n.id, hd.shard, hd.id)
	p.n.write(func() {
		w.check.removed(hd.id)
		d.copies = slices.DeleteFunc(d.copies, func(s *stored) bool { return s.id == hd.id })
	}, func() {})
}

// create makes a copy that was minted for this directory.
func (p *process) create(hd *holding) {
	d := p.n.disk
	s := &stored{shard: hd.shard, id: hd.id}
	hd.Creating = true
	p.n.write(func() {
		d.copies = append(d.copies, s)
		p.n.w.check.created(s)
	}, func() {
		hd.Creating = false
		hd.host = openHost(p, s)
		p.hosts = append(p.hosts, hd.host)
		p.n.w.born(p, hd)
		delete(p.shown, hd.shard)
		p.version = 0
		p.update()
	})
}

// reports repeats what the map does not show yet.
func (p *process) reports() {
	for _, hd := range p.held {
		if hd.report != nil {
			p.report(*hd.report)
		}
	}
	for _, h := range p.hosts {
		if h.report != nil {
			p.report(*h.report)
		}
	}
	p.reportVolatile()
}
