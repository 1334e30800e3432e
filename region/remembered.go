package region

import (
	"encoding/binary"
	"errors"
	"fmt"

	"muster/entity"
	"muster/replication"
	"muster/shard"
)

// remembered is what a session's requests came to whose records the log is about to do without. It is kept apart from the
// log as a KindRequests record: the session's floor, without which a late twin of an old request would run again, and the
// answer to each request at or above it.
type remembered struct {
	session shard.SessionID
	floor   uint64
	answers []recorded
}

// recorded is the answer to one request; kept is nil until its record was read.
type recorded struct {
	number uint64
	at     shard.LSN
	kept   *kept
}

var errRemembered = errors.New("malformed requests of a session")

// due lists what has to be remembered before the log can do without the records up to lsn: of each session that has
// recorded something since it was last asked for.
func (r *requests) due(lsn shard.LSN) (all []remembered) {
	for id, w := range r.sessions {
		if w.last <= w.apart {
			continue
		}
		m := remembered{session: id, floor: w.floor}
		for _, q := range w.open.all() {
			if q.at > 0 && q.at <= lsn {
				m.answers = append(m.answers, recorded{q.number, q.at, q.kept})
			}
		}
		all = append(all, m)
	}
	return all
}

// stored notes that all of m is apart, for records up to lsn: the answers need no records any more.
func (r *requests) stored(all []remembered, lsn shard.LSN) {
	for i := range all {
		w := r.sessions[all[i].session]
		if w == nil {
			r.gone = append(r.gone, replication.Key{Kind: replication.KindRequests, Session: all[i].session})
			continue
		}
		w.apart = lsn
		w.adopt(all[i].answers)
	}
}

// restore takes in what was remembered apart, which may be newer than the log's start: the log's own records count more.
func (r *requests) restore(m *remembered, base shard.LSN) {
	w := r.window(m.session)
	w.apart = max(w.apart, base)
	w.raise(m.floor)
	for _, a := range m.answers {
		if a.number >= w.floor && w.find(a.number) == nil {
			w.put(request{number: a.number, at: a.at, kept: a.kept})
		}
	}
}

// adopt keeps the answers to requests that are still open.
func (w *window) adopt(answers []recorded) {
	for _, a := range answers {
		if q := w.find(a.number); q != nil && q.at == a.at {
			q.kept = a.kept
		}
	}
}

// record encodes m: for each answer number, LSN, whether the reply is lost, and the length of the outcome that follows.
// Numbers are uvarints; the record around it has the checksum.
func (m *remembered) record(at shard.Position) replication.Record {
	var b, one []byte
	for i := range m.answers {
		a := &m.answers[i]
		b = binary.AppendUvarint(b, a.number)
		b = binary.AppendUvarint(b, uint64(a.at))
		lost := byte(0)
		if a.kept.lost {
			lost = 1
		}
		out := entity.Outcome{Digest: a.kept.digest, Reply: a.kept.reply, Refusal: a.kept.fault}
		one = out.Append(one[:0])
		b = binary.AppendUvarint(append(b, lost), uint64(len(one)))
		b = append(b, one...)
	}
	return replication.Record{
		Position: at, Kind: replication.KindRequests, Request: shard.RequestID{Session: m.session}, Floor: m.floor, Body: b,
	}
}

// rememberedOf decodes what record made: requests by rising number, each with its record. It keeps nothing of r's memory. Its errors wrap
// errRemembered.
func rememberedOf(r *replication.Record) (*remembered, error) {
	m := &remembered{session: r.Request.Session, floor: r.Floor}
	b := r.Body
	for len(b) > 0 {
		var v [2]uint64
		for i := range v {
			n := 0
			if v[i], n = binary.Uvarint(b); n <= 0 {
				return nil, errRemembered
			}
			b = b[n:]
		}
		n := len(m.answers)
		if len(b) == 0 || b[0] > 1 || v[1] == 0 || n > 0 && v[0] <= m.answers[n-1].number {
			return nil, errRemembered
		}
		lost := b[0] == 1
		size, n := binary.Uvarint(b[1:])
		if n <= 0 || size > uint64(len(b)-1-n) {
			return nil, errRemembered
		}
		b = b[1+n:]
		out, err := entity.DecodeOutcome(b[:size])
		if err != nil {
			return nil, fmt.Errorf("%w: number %d: %w", errRemembered, v[0], err)
		}
		b = b[size:]
		m.answers = append(m.answers, recorded{v[0], shard.LSN(v[1]), keptOf(&out, lost)})
	}
	return m, nil
}

// keptIn is the answer that a command's record holds.
func keptIn(r *replication.Record) (*kept, error) {
	out, err := entity.DecodeOutcome(r.Body)
	if err != nil {
		return nil, err
	}
	return keptOf(&out, false), nil
}

// keptOf is an outcome as it is kept for duplicates. A reply that is too large is lost.
func keptOf(out *entity.Outcome, lost bool) *kept {
	k := &kept{digest: out.Digest, fault: out.Refusal, lost: lost || len(out.Reply) > maxKeptReply}
	if !k.lost && len(out.Reply) > 0 {
		k.reply = append([]byte(nil), out.Reply...)
	}
	return k
}
