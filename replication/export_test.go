package replication

import (
	"encoding/binary"
	"slices"

	"muster/shard"
)

// Clone returns a copy that goes its own way. Histories are never written to, so they may be shared.
func (c *Copy) Clone() *Copy {
	d := *c
	d.log.writes = slices.Clone(c.log.writes)
	if c.leading != nil {
		l := *c.leading
		l.peers = slices.Clone(l.peers) // a change is never written to
		d.leading = &l
	}
	return &d
}

// Leads returns the epoch the copy leads, 0 for none.
func (c *Copy) Leads() shard.Epoch {
	if c.leading == nil {
		return 0
	}
	return c.leading.Epoch
}

// Active reports whether the copy leads an epoch that the control group has activated.
func (c *Copy) Active() bool { return c.leading != nil && c.leading.active }

// Changing reports whether another C was proposed and is not decided.
func (c *Copy) Changing() bool { return c.leading != nil && c.leading.change != nil }

// Base is the LSN after which the copy's log starts.
func (c *Copy) Base() shard.LSN { return c.log.base.LSN }

// Fingerprint appends what the copy's future behaviour depends on. Tickets count only by how many are under way, and what
// peers refused is for people.
func (c *Copy) Fingerprint(b []byte) []byte {
	l, f := &c.log, &c.following
	b = put(b, l.promised, l.base.Epoch, l.last.Epoch, l.kept, f.epoch, c.led)
	b = put(b, l.base.LSN, l.last.LSN, l.confirmed, l.durable, f.matched, f.acked)
	b = put(b, uint64(f.primary), f.round, f.answered, c.rounds, uint64(len(l.history)), uint64(len(l.writes)))
	b = append(b, bit(f.owes), bit(c.sealing.waits), bit(c.leading != nil))
	b = putHistory(b, l.history)
	for _, w := range l.writes {
		b = put(b, uint64(w.promised), uint64(w.end))
	}
	if c.sealing.waits {
		a := &c.sealing.answer
		b = put(b, uint64(a.Epoch), uint64(a.Last.Epoch), uint64(a.Last.LSN), uint64(a.Confirmed), uint64(l.tickets-c.sealing.after))
	}
	if c.leading != nil {
		b = c.leading.fingerprint(b)
	}
	return b
}

func (l *leading) fingerprint(b []byte) []byte {
	b = put(b, uint64(l.Epoch), uint64(l.Version), uint64(l.start), l.asked, l.verified, uint64(l.waited))
	b = append(b, bit(l.established), bit(l.active), bit(l.waiting), bit(l.change != nil))
	for _, p := range l.peers {
		if !p.probing {
			p.probed = 0
		}
		b = put(b, p.match, p.next, p.probed, p.told)
		b = put(b, p.round, uint64(p.silent), uint64(p.due))
		b = append(b, bit(p.probing), bit(p.filling), bit(p.member), bit(p.wanted), byte(p.copy))
	}
	for _, learner := range l.Learners {
		b = append(b, 'l', byte(learner.Replaces))
	}
	for _, id := range l.change {
		b = append(b, 'c', byte(id))
	}
	return b
}

func putHistory(b []byte, h shard.History) []byte {
	for _, s := range h {
		b = put(b, uint64(s.Epoch), uint64(s.First))
	}
	return b
}

func put[T ~uint64](b []byte, values ...T) []byte {
	for _, v := range values {
		b = binary.AppendUvarint(b, uint64(v))
	}
	return b
}

func bit(v bool) byte {
	if v {
		return 1
	}
	return 0
}

// At returns the position of an LSN of the copy's log.
func (c *Copy) At(lsn shard.LSN) shard.Position { return c.log.at(lsn) }

// Forget makes a record do without the encoding that it keeps.
func Forget(r *Record) { r.encoded = nil }
