package simulation

import (
	"slices"
	"time"

	"muster/region/route"
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
	confirmed shard.LSN // the newest that the copy said is confirmed
	asked     []ask
	holding   bool // held waits to be carried out
	held      replication.Effects
	retired   bool
	spec      shard.Spec
	primacy
	shortening
}

// primacy is what a copy has to do with leading its shard.
type primacy struct {
	term   *term              // nil unless this copy leads
	given  *replication.Given // what this process stepped down from; nil for nothing
	report *shard.Report      // repeated until the map shows its effect; nil for none
	serves *service           // nil while it does not serve
}

// term is the time in which this copy leads one epoch.
type term struct {
	epoch     shard.Epoch
	placement *shard.Placement // the newest of the epoch
	active    bool             // the map says so
	early     []request        // that came before it serves
	handing   replication.Handing
}

// source is where the primary of an epoch sent from, and up to where it was told that this copy has its log.
type source struct {
	epoch shard.Epoch
	node  *node
	acked shard.LSN
}

// ask is a Seal that is not answered.
type ask struct {
	epoch  shard.Epoch
	answer func(shard.Sealed)
}

func openHost(p *process, s *stored) *host {
	state := s.state()
	if err := state.Check(); err != nil {
		p.n.w.fail("copy %d of %s on %s: %v", s.id, s.shard, p.n.id, err)
	}
	return &host{
		p: p, shard: s.shard, id: s.id, copy: replication.Open(s.shard, state), stored: s, spec: p.n.w.setup.spec(s.shard.Type),
		confirmed: state.Confirmed, log: s.log.shared(),
		shortening: shortening{staged: s.staged, fills: map[shard.CopyID]*filling{}, late: map[shard.CopyID]func(){}},
	}
}

func (p *process) host(id shard.CopyID) *host {
	i := slices.IndexFunc(p.hosts, func(h *host) bool { return h.id == id })
	if i < 0 {
		return nil
	}
	return p.hosts[i]
}

// place makes the copy what the map says it is.
func (h *host) place(pl *shard.Placement) {
	if h.report != nil && h.report.Epoch < pl.Epoch {
		h.report = nil
	}
	h.succeeded(pl)
	switch route.PartOf(pl, h.id, h.p.adopted()) {
	case route.Lead:
		h.lead(pl)
		h.configure(pl)
	case route.Serve:
		if h.p.n.w.swarm.heir(h.p.adopted()) {
			h.lead(pl)
		}
		h.activate(pl)
		h.configure(pl)
	case route.Follow:
		h.run(h.copy.Follow(pl.Epoch))
	}
}

func (h *host) lead(pl *shard.Placement) {
	if h.term != nil && h.term.epoch >= pl.Epoch || h.given != nil && h.given.Epoch >= pl.Epoch {
		return
	}
	h.depose()
	h.term = &term{epoch: pl.Epoch, placement: pl}
	e, err := h.copy.Lead(replication.LeadershipOf(pl, h.spec))
	if err != nil {
		h.p.n.w.log("%s: %s: cannot lead epoch %d: %v", h.p.n.id, h.shard, pl.Epoch, err)
		h.depose()
		h.tell(shard.Report{Kind: shard.ReportRecover, Epoch: pl.Epoch})
		return
	}
	e.Deposed = false
	h.p.n.w.check.leads(h, pl.Epoch)
	h.run(e)
}

// activate begins to serve, or will when the log is on the write quorum.
func (h *host) activate(pl *shard.Placement) {
	if h.term == nil || h.term.epoch != pl.Epoch || h.term.active {
		return
	}
	h.term.active = true
	h.run(h.copy.Activate(pl.Version))
	h.serve()
}

// established goes on with a log that is on the write quorum: it asks for the epoch to be activated, or begins to serve.
func (h *host) established() {
	if h.term != nil && !h.term.active {
		h.tell(shard.Report{Kind: shard.ReportEstablished, Epoch: h.term.epoch, Version: h.copy.Status().Version})
	}
	h.serve()
}

// serve begins to serve if the epoch is both active and established: everything the log holds counts, for the primary confirms it
// with its epoch-start record.
func (h *host) serve() {
	if h.term == nil || h.serves != nil || !h.copy.Serves() {
		return
	}
	h.report = nil
	h.p.n.w.check.activates(h)
	h.serves = newService(h)
	early := h.term.early
	h.term.early = nil
	for _, r := range early {
		h.p.handleJournaled(r)
	}
}

// depose ends the term, if there is one.
func (h *host) depose() {
	if h.term == nil {
		return
	}
	early := h.term.early
	h.term, h.report = nil, nil
	for _, r := range early {
		r.reply(h.elsewhere())
	}
	clear(h.fills)
	if s := h.serves; s != nil {
		h.serves = nil
		s.end()
	}
}

// run takes effects over: at once, or gathered with those of the calls that follow within moments.
func (h *host) run(e replication.Effects) {
	if h.retired {
		return
	}
	w := h.p.n.w
	if e.Write != nil {
		h.remember(e.Write)
	}
	w.check.effects(h, &e)
	if e.Deposed {
		h.held.Appends, h.held.Installs = nil, nil
		h.depose()
	}
	switch {
	case h.holding:
		h.held.Merge(e)
	case w.chance(0.2):
		h.holding, h.held = true, e
		h.p.after(w.between(0, 2*time.Millisecond), h.flush)
	default:
		h.carryOut(e)
	}
}

// flush carries out what was gathered.
func (h *host) flush() {
	held := h.held
	h.holding, h.held = false, replication.Effects{}
	h.carryOut(held)
}

// remember keeps the log in memory in step with the copy.
func (h *host) remember(w *replication.Write) {
	if w.Install.LSN != 0 {
		h.p.n.w.check.replaces(h, h.staged)
		h.log.replace(h.staged)
		h.staged = nil
	}
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
	for _, m := range e.Installs {
		h.fill(m)
	}
	for _, a := range e.Acks {
		if h.from.epoch == a.Epoch {
			p.n.w.send(p.n, h.from.node, func(q *process) { q.ack(p.n, a) })
		}
	}
	for _, s := range e.Sealed {
		h.answer(s)
	}
	if h.serves != nil && (e.Confirmed != 0 || e.Round != 0) {
		h.serves.release(e.Confirmed, e.Round)
	}
	if e.Established {
		h.established()
	}
	h.handOver()
}

// sendAppends fills in the records and sends them, some in two parts.
func (h *host) sendAppends(out []replication.Outgoing) {
	w := h.p.n.w
	for _, o := range out {
		if h.term == nil || h.term.epoch != o.Epoch {
			continue // void: it was deposed since
		}
		c, found := route.Named(h.term.placement, o.To)
		if !found {
			continue
		}
		if o.Through > h.log.end() || o.Prev.LSN < h.log.base {
			w.fail("%s on %s: append of %d to %d, the log is %d to %d", h.shard, h.p.n.id, o.Prev.LSN+1, o.Through, h.log.base+1, h.log.end())
		}
		m := o.Append
		m.Records = h.log.records[o.Prev.LSN:max(o.Through, o.Prev.LSN):max(o.Through, o.Prev.LSN)]
		to := w.node(c.Node)
		if n := len(m.Records); n > 1 && w.chance(0.3) {
			cut := 1 + w.dice.IntN(n-1)
			first := m
			first.Records = m.Records[:cut:cut]
			h.retard(to, first)
			m.Prev, m.Records = m.Records[cut-1].Position, m.Records[cut:]
		}
		h.retard(to, m)
	}
}

func (h *host) send(to *node, m replication.Append) {
	from := h.p.n
	if l := from.w.lagging; l != nil {
		l.trim(&m)
	}
	from.w.send(from, to, func(q *process) { q.admitted(func() { q.appended(&m, from) }) })
}

// appended hands an append to the copy it is for.
func (p *process) appended(m *replication.Append, from *node) {
	w := p.n.w
	r := p.host(m.To)
	if r == nil {
		p.misses(from, replication.Nack{Shard: m.Shard, Copy: m.To, Epoch: m.Epoch, Why: replication.WrongCopy})
		return
	}
	e := r.copy.Append(*m)
	if m.Epoch > r.from.epoch || r.from.node == nil {
		r.from = source{epoch: m.Epoch, node: from}
	}
	for _, n := range e.Nacks {
		w.send(p.n, from, func(q *process) { q.nack(p.n, n) })
	}
	r.run(e)
}

// misses tells a primary that the copy it sent something to is not here.
func (p *process) misses(primary *node, n replication.Nack) {
	p.n.w.send(p.n, primary, func(q *process) { q.nack(p.n, n) })
}

func (p *process) ack(from *node, a replication.Ack) {
	p.hearing(from).Heard()
	for _, h := range p.hosts {
		if h.shard == a.Shard {
			h.run(h.copy.Ack(a))
		}
	}
}

func (p *process) nack(from *node, n replication.Nack) {
	p.hearing(from).Heard()
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

// hearing is what this process knows of whether a node answers it.
func (p *process) hearing(of *node) *replication.Hearing {
	if p.heard[of] == nil {
		p.heard[of] = &replication.Hearing{}
	}
	return p.heard[of]
}

// silent is for how many ticks a node has answered nothing that a primary here asked.
func (p *process) silent(of shard.NodeID) int { return p.hearing(p.n.w.node(of)).Silent() }

// listen has nodes that were not heard for a while asked for a sign of life.
func (p *process) listen() {
	for _, other := range p.n.w.nodes {
		h := p.hearing(other)
		if other == p.n || !h.Tick() {
			continue
		}
		var concerned []func()
		for _, mine := range p.hosts {
			if id, asks := replication.Asks(p.view.Placement(mine.shard), p.adopted(), other.id); asks {
				concerned = append(concerned, func() { mine.run(mine.copy.Ask(id)) })
			}
		}
		if len(concerned) == 0 || !p.view.Up(other.id) {
			h.Heard()
			continue
		}
		p.asked++
		concerned[p.asked%len(concerned)]()
	}
}

// tick lets the copies' time pass.
func (p *process) tick() {
	p.listen()
	for _, h := range slices.Clone(p.hosts) {
		h.run(h.copy.Tick())
		if h.term != nil {
			h.term.handing.Tick(h.log.end())
		}
		if h.serves != nil {
			h.serves.expire()
		}
		if !h.deserted() {
			h.desire()
		}
		h.recant()
		h.handOver()
		h.shorten()
	}
	p.tickVolatile()
}
