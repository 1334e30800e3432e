package simulation

import (
	"encoding/binary"
	"slices"

	"muster/replication"
	"muster/shard"
)

// service is what a serving primary keeps beside its log: entities, each a list of numbers, folded ahead of the journal;
// the requests the log holds; and the outputs that wait.
type service struct {
	h        *host
	entities map[shard.EntityID]*list
	requests map[shard.RequestID]shard.LSN
	waiting  []output
}

// list is an entity: what was appended to it, and the newest record it rests on.
type list struct {
	values []uint64
	last   shard.LSN
}

// output leaves when everything up to lsn is confirmed and the round, if any, is verified.
type output struct {
	lsn   shard.LSN
	round uint64
	reply func(answer)
	value answer
}

// begin starts to serve: everything the log holds counts, for the primary confirms it with its epoch-start record.
func (h *host) begin() {
	if h.copy.Status().Role != replication.Primary {
		return
	}
	h.p.n.w.check.activates(h)
	s := &service{h: h, entities: map[shard.EntityID]*list{}, requests: map[shard.RequestID]shard.LSN{}}
	for i := range h.log.records {
		s.fold(&h.log.records[i])
	}
	h.serves = s
}

// end stops serving. Outputs that waited for confirmation have an unknown outcome; reads changed nothing.
func (h *host) end() {
	if h.serves == nil {
		return
	}
	waiting := h.serves.waiting
	h.serves = nil
	for _, o := range waiting {
		if o.round != 0 {
			o.reply(answer{kind: refused})
		} else {
			o.reply(answer{kind: unknown})
		}
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

// handle runs a client's request, or refuses it when this process does not serve the shard.
func (p *process) handle(r request) {
	if p.volatileOf(r) {
		return
	}
	for _, h := range p.hosts {
		if h.shard == r.shard && h.serves != nil {
			if r.read {
				h.serves.read(r)
			} else {
				h.serves.append(r)
			}
			return
		}
	}
	r.reply(answer{kind: refused})
}

// append records the request's number once, however often the request comes.
func (s *service) append(r request) {
	if lsn, known := s.requests[r.id]; known {
		s.wait(output{lsn: lsn, reply: r.reply, value: answer{kind: done}})
		return
	}
	body := binary.LittleEndian.AppendUint64(nil, r.value)
	records := []replication.Record{{
		Kind: replication.KindCommand, Entity: r.entity, Seq: shard.Seq(len(s.entity(r.entity).values) + 1), Request: r.id, Body: body,
	}}
	e, err := s.h.copy.Propose(records)
	if err != nil {
		r.reply(answer{kind: refused})
		return
	}
	s.fold(&records[0])
	s.waiting = append(s.waiting, output{lsn: records[0].LSN, reply: r.reply, value: answer{kind: done}})
	s.h.run(e)
}

// read answers with the entity's list as it is now, when that is confirmed and a round begun now is verified.
func (s *service) read(r request) {
	l := s.entity(r.entity)
	round, e := s.h.copy.Read()
	if round == 0 {
		r.reply(answer{kind: refused})
		return
	}
	s.waiting = append(s.waiting, output{lsn: l.last, round: round, reply: r.reply, value: answer{kind: done, values: slices.Clone(l.values)}})
	s.h.run(e)
}

// wait replies to a duplicate when its record is confirmed. A copy that was deposed a moment ago may know more to be
// confirmed than this log held, so it must not answer from what it knows.
func (s *service) wait(o output) {
	if s.h.copy.Status().Role != replication.Primary {
		o.reply(answer{kind: unknown})
		return
	}
	if o.lsn <= s.h.copy.Status().Confirmed {
		o.reply(o.value)
		return
	}
	s.waiting = append(s.waiting, o)
}

// release lets the outputs go that a confirmation or a verified round permits.
func (s *service) release(confirmed shard.LSN, round uint64) {
	var free []output
	rest := s.waiting[:0:0]
	known := s.h.copy.Status().Confirmed
	for _, o := range s.waiting {
		if o.round <= round && o.round != 0 {
			o.round = verified
		}
		if o.lsn <= max(confirmed, known) && (o.round == 0 || o.round == verified) {
			free = append(free, o)
		} else {
			rest = append(rest, o)
		}
	}
	s.waiting = rest
	for _, o := range free {
		o.reply(o.value)
	}
}

// verified marks an output whose round is.
const verified = ^uint64(0)
