package simulation

import (
	"encoding/binary"
	"slices"
	"time"

	"muster/region/route"
	"muster/replication"
	"muster/shard"
)

// service is what a serving primary keeps beside its log: entities, each a list of numbers, folded ahead of the journal;
// the requests the log holds; the outputs that wait; and while the shard is being handed over, the commands held back.
type service struct {
	h        *host
	entities map[shard.EntityID]*list
	requests map[shard.RequestID]shard.LSN
	open     map[shard.RequestID]*call // taken and not in the log yet
	waiting  []output
	held     []request
	running  int    // handlers
	round    uint64 // the newest that was verified
}

// list is an entity: what was appended to it, the newest record it rests on, and the commands that wait for its handler.
type list struct {
	values  []uint64
	last    shard.LSN
	mailbox []*call
	busy    bool
}

// call is a command between its arrival and its record, with whoever waits for it.
type call struct {
	request
	twins []func(answer)
}

// output leaves when everything up to lsn is confirmed and, if it is a read, its round is verified or the lease runs.
type output struct {
	lsn   shard.LSN
	read  bool
	round uint64 // 0 for a read that goes by the lease
	since time.Duration
	reply func(answer)
	value answer
	due   due // of a read
}

func newService(h *host) *service {
	s := &service{
		h: h, entities: map[shard.EntityID]*list{}, requests: map[shard.RequestID]shard.LSN{}, open: map[shard.RequestID]*call{},
	}
	for i := range h.log.records {
		s.fold(&h.log.records[i])
	}
	return s
}

// elsewhere is what callers hear of a copy that does not lead, or leads no more: it did nothing, ask again.
func (h *host) elsewhere() answer {
	epoch := h.copy.Status().Promised
	if h.given != nil {
		epoch = max(epoch, h.given.Epoch+1)
	}
	return answer{fault: &shard.Error{Code: shard.CodeUnavailable, Shard: h.shard, Epoch: epoch}}
}

// end stops serving. Outputs that waited for confirmation have an unknown outcome; nothing else has had an effect.
func (s *service) end() {
	away := s.h.elsewhere()
	unsure := *away.fault
	unsure.Outcome = shard.Unknown
	for _, o := range s.waiting {
		if o.read {
			o.reply(away)
		} else {
			o.reply(answer{fault: &unsure})
		}
	}
	for _, c := range s.inMailboxes() {
		c.answer(away)
	}
	for _, r := range s.held {
		r.reply(away)
	}
}

// inMailboxes lists the calls that have not begun, entity by entity.
func (s *service) inMailboxes() []*call {
	var all []*call
	for _, id := range entityNames {
		if l := s.entities[id]; l != nil {
			all = append(all, l.mailbox...)
		}
	}
	return all
}

func (c *call) answer(a answer) {
	c.reply(a)
	for _, twin := range c.twins {
		twin(a)
	}
}

func (s *service) fold(r *replication.Record) {
	if r.Kind != replication.KindCommand {
		return
	}
	l := s.entity(r.Entity)
	l.values = append(l.values, binary.LittleEndian.Uint64(r.Body))
	l.last = r.LSN
	s.requests[r.Request] = r.LSN
}

func (s *service) entity(id shard.EntityID) *list {
	if s.entities[id] == nil {
		s.entities[id] = &list{}
	}
	return s.entities[id]
}

// handle runs a request that some node routed here, or says why not.
func (p *process) handle(r request) {
	fault := route.Accept(p.view, route.Self{Node: p.n.id, Session: p.adopted()}, r.shard, r.epoch)
	if fault == nil && p.view.Ended(r.id.Session) {
		fault = shard.Errorf(shard.CodeSessionEnded, "session %d is over", r.id.Session)
	}
	if _, live := p.view.Sessions[r.id.Session]; fault == nil && !live {
		fault = &shard.Error{Code: shard.CodeBehind, Shard: r.shard}
	}
	switch {
	case fault != nil:
		r.reply(answer{fault: fault})
	case p.n.w.setup.spec(r.shard.Type).Volatile:
		p.handleVolatile(r)
	default:
		p.handleJournaled(r)
	}
}

func (p *process) handleJournaled(r request) {
	for _, h := range p.hosts {
		switch {
		case h.shard == r.shard && h.serves == nil && h.term != nil && h.term.active && r.epoch == h.term.epoch:
			h.term.early = append(h.term.early, r)
			return
		case h.shard != r.shard || h.serves == nil:
		case r.epoch < h.term.epoch:
			r.reply(answer{fault: &shard.Error{Code: shard.CodeMoved, Shard: h.shard, Epoch: h.term.epoch, Node: p.n.id, Addr: p.n.addr()}})
			return
		case r.epoch > h.term.epoch:
			r.reply(answer{fault: &shard.Error{Code: shard.CodeBehind, Shard: h.shard, Epoch: h.term.epoch}})
			return
		case h.term.handing.Paused:
			h.serves.held = append(h.serves.held, r)
			return
		default:
			h.serves.take(r)
			return
		}
	}
	for _, h := range p.hosts {
		if h.shard == r.shard {
			r.reply(h.elsewhere())
			return
		}
	}
	r.reply(answer{fault: &shard.Error{Code: shard.CodeUnavailable, Shard: r.shard, Epoch: r.epoch}})
}

// take lets a command in, unless it is there already.
func (s *service) take(r request) {
	if lsn, known := s.requests[r.id]; known {
		s.wait(output{lsn: lsn, since: s.h.p.n.local(), reply: r.reply})
		return
	}
	if c := s.open[r.id]; c != nil {
		c.twins = append(c.twins, r.reply)
		return
	}
	c := &call{request: r}
	s.open[r.id] = c
	l := s.entity(r.entity)
	l.mailbox = append(l.mailbox, c)
	s.next(l)
}

// next runs the handler of what waits for an entity: mostly at once, sometimes for a while.
func (s *service) next(l *list) {
	for !l.busy && len(l.mailbox) > 0 && !s.paused() {
		c := l.mailbox[0]
		l.mailbox = l.mailbox[1:]
		w := s.h.p.n.w
		if !w.chance(w.swarm.slowHandlers) {
			s.finish(c)
			continue
		}
		took := w.between(time.Millisecond, 30*time.Millisecond)
		if w.chance(0.03) {
			took = w.between(500*time.Millisecond, 2*time.Second)
		}
		l.busy = true
		s.running++
		s.h.p.after(took, func() {
			l.busy = false
			s.running--
			if s.h.serves != s {
				c.answer(s.h.elsewhere())
				return
			}
			s.finish(c)
			s.next(l)
			s.h.handOver()
		})
	}
}

func (s *service) paused() bool { return s.h.term == nil || s.h.term.handing.Paused }

// finish takes a handler's outcome: a record, or a read.
func (s *service) finish(c *call) {
	delete(s.open, c.id)
	if s.h.serves != s {
		c.answer(s.h.elsewhere())
		return
	}
	if c.read {
		s.read(c)
	} else {
		s.append(c)
	}
}

func (s *service) append(c *call) {
	body := binary.LittleEndian.AppendUint64(nil, c.value)
	records := []replication.Record{{
		Kind: replication.KindCommand, Entity: c.entity, Seq: shard.Seq(len(s.entity(c.entity).values) + 1), Request: c.id, Body: body,
	}}
	e, err := s.h.copy.Propose(records)
	if err != nil {
		c.answer(s.h.elsewhere())
		return
	}
	s.fold(&records[0])
	s.await(c, output{lsn: records[0].LSN})
	s.h.run(e)
}

// read answers with the entity's list as it is now, when that is confirmed and the lease runs then, or a round begun now is verified.
func (s *service) read(c *call) {
	l, due := s.entity(c.entity), s.h.p.n.w.check.reads(s.h)
	o := output{lsn: l.last, read: true, value: answer{values: slices.Clone(l.values)}, due: due}
	if s.leased() {
		s.await(c, o)
		s.release(0, 0)
		return
	}
	round, e := s.h.copy.Read()
	if round == 0 {
		c.answer(s.h.elsewhere())
		return
	}
	o.round = round
	s.await(c, o)
	s.h.run(e)
}

// leased reports whether reads go by the lease in this run, and it runs.
func (s *service) leased() bool {
	p := s.h.p
	self := route.Self{Node: p.n.id, Session: p.adopted()}
	return p.n.w.leases() && s.h.term != nil && route.Leased(p.view, self, s.h.shard, s.h.term.epoch, p.session.until, p.n.local())
}

// lapse begins a round for the reads that would have gone by the lease.
func (s *service) lapse() {
	if s.leased() || !slices.ContainsFunc(s.waiting, output.leasing) {
		return
	}
	round, e := s.h.copy.Read()
	for i := range s.waiting {
		if s.waiting[i].leasing() {
			s.waiting[i].round = round
		}
	}
	s.h.run(e)
}

func (o output) leasing() bool { return o.read && o.round == 0 }

func (s *service) await(c *call, o output) {
	o.since, o.reply = s.h.p.n.local(), c.answer
	s.waiting = append(s.waiting, o)
}

// muted reports whether the lease ran out so long ago that no output leaves any more, confirmed or not.
func (h *host) muted() bool {
	return h.p.n.local() > h.p.session.until+h.spec.Voice(h.p.n.lengths().Autonomy)
}

// wait replies to a duplicate when its record is confirmed.
func (s *service) wait(o output) {
	if o.lsn <= s.h.confirmed && !s.h.muted() {
		o.reply(o.value)
		return
	}
	s.waiting = append(s.waiting, o)
}

// release lets the outputs go that a confirmation or a verified round permits.
func (s *service) release(confirmed shard.LSN, round uint64) {
	s.round = max(s.round, round)
	if round = s.round; s.h.muted() {
		return
	}
	var free []output
	rest := s.waiting[:0]
	known := max(confirmed, s.h.confirmed)
	for _, o := range s.waiting {
		if o.round <= round && o.round != 0 {
			o.round = verified
		}
		if o.lsn <= known && (!o.read || o.round == verified || o.round == 0 && s.leased()) {
			free = append(free, o)
		} else {
			rest = append(rest, o)
		}
	}
	s.waiting = rest
	for _, o := range free {
		if o.read {
			s.h.p.n.w.check.answers(s.h, o.due)
		}
		o.reply(o.value)
	}
}

// verified marks an output whose round is.
const verified = ^uint64(0)

// expire gives up outputs that waited for longer than the type's ack_timeout. Their records stay. Those that waited for a lease go.
func (s *service) expire() {
	if len(s.waiting) > 0 {
		s.release(0, 0)
		s.lapse()
	}
	now := s.h.p.n.local()
	for len(s.waiting) > 0 && now >= s.waiting[0].since+s.h.spec.AckTimeout {
		o := s.waiting[0]
		s.waiting = s.waiting[1:]
		fault := &shard.Error{Code: shard.CodeUnconfirmed, Shard: s.h.shard}
		if !o.read {
			fault.Outcome = shard.Unknown
		}
		o.reply(answer{fault: fault})
	}
}

// drained reports whether no handler runs and every output has left.
func (s *service) drained() bool {
	return s.running == 0 && len(s.waiting) == 0 && !s.h.holding && s.h.confirmed == s.h.log.end()
}

// resume goes on after a pause that came to nothing: what waited in mailboxes first, then what was held.
func (s *service) resume() {
	held := s.held
	s.held = nil
	for _, id := range entityNames {
		if l := s.entities[id]; l != nil {
			s.next(l)
		}
	}
	for _, r := range held {
		if s.h.serves != s {
			r.reply(s.h.elsewhere())
			continue
		}
		s.take(r)
	}
}
