package replication_test

import (
	"encoding/binary"
	"hash/maphash"

	"muster/replication"
	"muster/shard"
)

// sum is the fingerprint of a node.
func (w *world) sum(i int) [2]uint64 {
	n := w.nodes[i]
	if n.sum == [2]uint64{} {
		n.sum = w.r.hash(n.fingerprint(nil))
	}
	return n.sum
}

// key is a fingerprint of all that can still matter.
func (w *world) key() [2]uint64 {
	b := w.r.scratch[:0]
	for i := range w.nodes {
		sum := w.sum(i)
		b = binary.LittleEndian.AppendUint64(b, sum[0])
		b = binary.LittleEndian.AppendUint64(b, sum[1])
	}
	b = binary.AppendUvarint(b, uint64(w.group.id))
	for _, m := range w.net {
		b = binary.AppendUvarint(b, uint64(m))
	}
	b = append(b, 0)
	b = w.past.fingerprint(b)
	l := w.left
	b = append(b, byte(l.writes), byte(l.crashes), byte(l.wipes), byte(l.suspects), byte(l.reads), byte(l.ticks))
	b = append(b, byte(l.rots), byte(l.learners), byte(l.drops), byte(l.changes), byte(l.wishes), byte(l.starts))
	w.r.scratch = b
	return w.r.hash(b)
}

func (r *run) hash(b []byte) [2]uint64 {
	return [2]uint64{maphash.Bytes(r.seeds[0], b), maphash.Bytes(r.seeds[1], b)}
}

func (j journal) fingerprint(b []byte) []byte {
	b = append(b, byte(len(j)))
	for _, e := range j {
		b = append(b, byte(e.epoch), byte(e.kind), byte(e.seq))
	}
	return b
}

func (p *past) fingerprint(b []byte) []byte {
	b = p.confirmed.fingerprint(b)
	for _, t := range p.terms {
		active := byte(0)
		if t.active {
			active = 1
		}
		b = t.log.fingerprint(append(b, byte(t.session), byte(t.start), active))
	}
	for _, g := range p.gone {
		b = g.log.fingerprint(append(b, 'g', byte(g.copy)))
	}
	return b
}

func (n *node) fingerprint(b []byte) []byte {
	b = append(b, byte(n.session), byte(n.wiped), byte(n.life), byte(n.id), byte(n.disk.promised), byte(n.disk.confirmed), byte(n.disk.base))
	b = n.disk.log.fingerprint(b)
	if n.copy == nil {
		return append(b, 0)
	}
	b = n.log.fingerprint(n.copy.Fingerprint(append(b, 1)))
	for _, w := range n.queue {
		b = append(b, byte(w.Promise), byte(w.Install.LSN), byte(w.Truncate), byte(w.Confirmed))
		b = journal(nil).with(&replication.Write{Records: w.Records}).fingerprint(b)
	}
	for _, g := range n.maps {
		b = binary.AppendUvarint(append(b, 'm'), uint64(g.id))
	}
	if n.stage != nil {
		b = n.stage.fingerprint(append(b, 'i'))
	}
	if n.seen != nil {
		p := n.seen.place
		b = append(b, 's', byte(p.Version), byte(p.HandTo))
		for _, c := range p.Copies {
			b = append(b, byte(c.State))
		}
	}
	if n.given.Epoch != 0 {
		b = append(b, 'h', byte(n.given.Epoch), byte(n.given.To))
	}
	if r := n.read; r != nil {
		b = append(b, 'r', byte(r.round), byte(r.saw), byte(r.must))
		if r.verified {
			b = append(b, 'v')
		}
	}
	return b
}

// encode names a message by everything it says; fmt would be most of the search's time.
func encode(b []byte, m any) []byte {
	add := func(kind byte, values ...uint64) {
		b = append(b, kind)
		for _, v := range values {
			b = binary.AppendUvarint(b, v)
		}
	}
	switch m := m.(type) {
	case replication.Append:
		add('+', uint64(m.Epoch), uint64(m.From), uint64(m.To), uint64(m.Prev.Epoch), uint64(m.Prev.LSN), uint64(m.Confirmed), uint64(m.Version), m.Round)
		for _, r := range m.Records {
			add('r', uint64(r.Epoch), uint64(r.Kind), uint64(r.Seq))
		}
	case snapshot:
		add('i', uint64(m.Epoch), uint64(m.From), uint64(m.To), uint64(m.Base.Epoch), uint64(m.Base.LSN))
		b = m.stands.fingerprint(b)
	case replication.Ack:
		add('a', uint64(m.Epoch), uint64(m.Copy), uint64(m.LSN), m.Round)
	case replication.Nack:
		add('n', uint64(m.Epoch), uint64(m.Copy), uint64(m.Why), uint64(m.Promised), uint64(m.Last.Epoch), uint64(m.Last.LSN))
		b = encodeHistory(b, m.History)
	case sealItem:
		add('s', uint64(m.Epoch), uint64(m.Copy))
	case shard.Sealed:
		add('S', uint64(m.Epoch), uint64(m.Copy), uint64(m.Last.Epoch), uint64(m.Last.LSN), uint64(m.Confirmed))
		add('h', uint64(len(m.History)), number(m.Led), number(m.Fault != nil))
		b = encodeHistory(b, m.History)
	case established:
		add('e', uint64(m.Epoch), uint64(m.Session))
	case report:
		b = m.encode(append(b, 'p'))
	}
	return b
}

func number(v bool) uint64 {
	if v {
		return 1
	}
	return 0
}

func encodeHistory(b []byte, h shard.History) []byte {
	for _, s := range h {
		b = binary.AppendUvarint(binary.AppendUvarint(b, uint64(s.Epoch)), uint64(s.First))
	}
	return b
}
