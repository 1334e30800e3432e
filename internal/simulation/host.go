package simulation

import (
	"slices"
	"time"

	"muster/replication"
	"muster/shard"
)

// host is the shell of one copy in one process: it carries out what the protocol says.
type host struct {
	p         *process
	shard     shard.ID
	id        shard.CopyID
	copy      *replication.Copy
	stored    *stored
	log       chain // what the stored log will be when every write under way is done
	from      source
	confirmed shard.LSN // what the copy knew before the call that is judged
	asked     []ask
	holding   bool // held waits to be carried out
	held      replication.Effects
	led       led
	serves    *service // nil while it does not serve
}

// source is where the primary of an epoch sent from.
type source struct {
	epoch shard.Epoch
	node  *node
}

// ask is a Seal that is not answered.
type ask struct {
	epoch  shard.Epoch
	answer func(shard.Sealed)
}

// led is what this process has led of the shard.
type led struct {
	epoch       shard.Epoch
	version     shard.ConfigVersion
	established bool
	refused     bool // the copy could not lead the epoch it was elected for
}

func openHost(p *process, s *stored) *host {
	state := s.state()
	if err := state.Check(); err != nil {
		p.n.w.fail("copy %d of %s on %s: %v", s.id, s.shard, p.n.id, err)
	}
	return &host{
		p: p, shard: s.shard, id: s.id, copy: replication.Open(s.shard, state), stored: s,
		confirmed: state.Confirmed, log: chain{slices.Clone(s.log.records), slices.Clone(s.log.hashes)},
	}
}

func (p *process) host(id shard.CopyID) *host {
	i := slices.IndexFunc(p.hosts, func(h *host) bool { return h.id == id })
	if i < 0 {
		return nil
	}
	return p.hosts[i]
}

// create makes a copy that was minted for this directory.
func (p *process) create(id shard.ID, c shard.CopyID) {
	d := p.n.disk
	if d.find(c) != nil {
		return
	}
	s := &stored{shard: id, id: c}
	p.n.write(func() {
		if d.find(c) == nil {
			d.copies = append(d.copies, s)
			p.n.w.check.created(p.n, s)
		}
	}, func() {
		if p.host(c) == nil {
			p.hosts = append(p.hosts, openHost(p, d.find(c)))
			p.update()
		}
	})
}

// shown tells the host what the map says of its shard.
func (h *host) shown(pl *shard.Placement) {
	own := pl.Primary == h.id && h.p.session.stored && pl.Session == h.p.session.id
	switch {
	case own && h.led.refused && h.led.epoch == pl.Epoch:
	case own && pl.Status == shard.Establishing && h.led.epoch != pl.Epoch:
		h.lead(pl)
	case own && pl.Status == shard.Active && h.led.epoch == pl.Epoch:
		if h.serves == nil && h.copy.Status().Role == replication.Establishing {
			h.run(h.copy.Activate(pl.Version))
			h.begin()
		}
	case own && pl.Status == shard.Establishing:
	default:
		h.run(h.copy.Follow(pl.Epoch))
	}
}

func (h *host) lead(pl *shard.Placement) {
	var c []shard.CopyID
	for _, x := range pl.Copies {
		c = append(c, x.ID)
	}
	h.led = led{epoch: pl.Epoch, version: pl.Version}
	e, err := h.copy.Lead(replication.Leadership{Epoch: pl.Epoch, Version: pl.Version, Copies: c, WriteQuorum: pl.WriteQuorum})
	if err != nil {
		h.p.n.w.log("%s: %s: cannot lead epoch %d: %v", h.p.n.id, h.shard, pl.Epoch, err)
		h.led.refused = true
		return
	}
	h.p.n.w.check.leads(h, pl.Epoch)
	h.run(e)
}

// run takes effects over: at once, or gathered with those of the calls that follow within moments.
func (h *host) run(e replication.Effects) {
	w := h.p.n.w
	if e.Write != nil {
		h.remember(e.Write)
	}
	w.check.effects(h, &e)
	if e.Deposed {
		h.held.Appends = nil
		h.end()
	}
	switch {
	case h.holding:
		h.held.Merge(e)
	case w.chance(0.2):
		h.holding, h.held = true, e
		h.p.after(w.between(0, 2*time.Millisecond), func() {
			held := h.held
			h.holding, h.held = false, replication.Effects{}
			h.carryOut(held)
		})
	default:
		h.carryOut(e)
	}
}

// remember keeps the log in memory in step with the copy.
func (h *host) remember(w *replication.Write) {
	if w.Truncate != 0 {
		h.p.n.w.check.truncates(h, w.Truncate)
		h.log.cut(w.Truncate)
	}
	for i := range w.Records {
		h.log.add(w.Records[i])
		h.p.n.w.check.record(h.shard, w.Records[i].Position, h.log.at(h.log.end()))
	}
}

// carryOut does what effects say, in the order of their fields.
func (h *host) carryOut(e replication.Effects) {
	p := h.p
	if w := e.Write; w != nil {
		p.n.write(func() { h.stored.apply(p.n.w, w) }, func() { h.run(h.copy.Durable(w.Ticket)) })
	}
	if len(e.Appends) > 0 {
		h.sendAppends(e.Appends)
	}
	for _, a := range e.Acks {
		if h.from.epoch == a.Epoch {
			p.n.w.send(p.n, h.from.node, func(q *process) { q.ack(a) })
		}
	}
	for _, s := range e.Sealed {
		h.answer(s)
	}
	if h.serves != nil && (e.Confirmed != 0 || e.Round != 0) {
		h.serves.release(e.Confirmed, e.Round)
	}
	if e.Established {
		h.led.established = true
		h.reportSelf()
	}
}

// sendAppends fills in the records and sends them, some in two parts.
func (h *host) sendAppends(out []replication.Outgoing) {
	w := h.p.n.w
	status := h.copy.Status()
	pl := h.p.view.Placement(h.shard)
	for _, o := range out {
		if status.Role == replication.Replica || status.Promised != o.Epoch || pl == nil {
			continue // void: it was deposed since
		}
		c, found := pl.Copy(o.To)
		if !found {
			continue
		}
		if o.Through > h.log.end() {
			w.fail("%s on %s: append through %d, the log ends at %d", h.shard, h.p.n.id, o.Through, h.log.end())
		}
		m := o.Append
		m.Records = h.log.records[o.Prev.LSN:max(o.Through, o.Prev.LSN):max(o.Through, o.Prev.LSN)]
		to := w.node(c.Node)
		if n := len(m.Records); n > 1 && w.chance(0.3) {
			cut := 1 + w.dice.IntN(n-1)
			first := m
			first.Records = m.Records[:cut:cut]
			h.send(to, first)
			m.Prev, m.Records = m.Records[cut-1].Position, m.Records[cut:]
		}
		h.send(to, m)
	}
}

func (h *host) send(to *node, m replication.Append) {
	from := h.p.n
	from.w.send(from, to, func(q *process) {
		r := q.host(m.To)
		if r == nil {
			return
		}
		e := r.copy.Append(m)
		if m.Epoch > r.from.epoch || r.from.node == nil {
			r.from = source{m.Epoch, from}
		}
		for _, n := range e.Nacks {
			from.w.send(q.n, from, func(p *process) { p.nack(n) })
		}
		r.run(e)
	})
}

func (p *process) ack(a replication.Ack) {
	for _, h := range p.hosts {
		if h.shard == a.Shard {
			h.run(h.copy.Ack(a))
		}
	}
}

func (p *process) nack(n replication.Nack) {
	for _, h := range p.hosts {
		if h.shard == n.Shard {
			h.run(h.copy.Nack(n))
		}
	}
}

// seal asks a copy of this process to promise.
func (p *process) seal(i shard.SealItem, answer func(shard.Sealed)) {
	h := p.host(i.Copy)
	if h == nil {
		return
	}
	h.asked = append(h.asked, ask{i.Epoch, answer})
	h.run(h.copy.Seal(i.Epoch))
}

func (h *host) answer(s shard.Sealed) {
	h.asked = slices.DeleteFunc(h.asked, func(a ask) bool {
		if a.epoch == s.Epoch {
			a.answer(s)
		}
		return a.epoch <= s.Epoch
	})
}

// tick lets the copies' time pass.
func (p *process) tick() {
	for _, h := range p.hosts {
		h.run(h.copy.Tick())
	}
}

// reportSelf tells the leader that the copy is established, or cannot lead.
func (h *host) reportSelf() {
	pl := h.p.view.Placement(h.shard)
	if pl == nil || pl.Primary != h.id || pl.Session != h.p.session.id || pl.Epoch != h.led.epoch || pl.Status == shard.Active {
		return
	}
	r := shard.Report{Shard: h.shard, Copy: h.id, Epoch: pl.Epoch, Version: pl.Version}
	switch {
	case h.led.refused:
		r.Kind = shard.ReportRecover
	case h.led.established && h.copy.Status().Role == replication.Establishing:
		r.Kind = shard.ReportEstablished
	default:
		return
	}
	h.p.report(r)
}
