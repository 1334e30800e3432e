package region

import (
	"muster/replication"
)

// A proposal gathers the records of one batch and the calls that caused them. Its memory goes to the protocol with them and
// comes back when they are written: the tail and the journal have copies then. Owned by the host.
type proposal struct {
	records []replication.Record
	calls   []*call // one for each record; nil for a snapshot
	bodies  []byte  // of commands, back to back
	lent    bool    // records and bodies are on their way to the journal
}

// mostKept bounds the memory that a proposal keeps for the next one, in bytes of bodies and in records.
const (
	mostBodies  = 64 << 10
	mostRecords = 512
)

// pending counts the records that were not proposed yet.
func (p *proposal) pending() int {
	if p.lent {
		return 0
	}
	return len(p.records)
}

// add makes the record of a command.
func (p *proposal) add(c *call) {
	p.part()
	from := len(p.bodies)
	p.bodies = c.outcome.Append(p.bodies) // when it grows, the bodies written before keep the old piece
	p.put(replication.Record{
		Kind: replication.KindCommand, Entity: c.env.Entity, Seq: c.seq,
		Request: c.env.Request, Floor: c.env.Floor,
		Body: p.bodies[from:len(p.bodies):len(p.bodies)],
	}, c)
}

// put adds a record, and the call whose it is.
func (p *proposal) put(r replication.Record, c *call) {
	p.part()
	p.records, p.calls = append(p.records, r), append(p.calls, c)
}

// part leaves what is on its way alone: a second proposal of one batch has memory of its own.
func (p *proposal) part() {
	if p.lent {
		*p = proposal{calls: p.calls}
	}
}

// lend notes that the protocol has the records.
func (p *proposal) lend() { p.calls, p.lent = p.calls[:0], true }

// written takes the memory back.
func (p *proposal) written() {
	if !p.lent {
		return
	}
	clear(p.records)
	p.records, p.bodies, p.lent = p.records[:0], p.bodies[:0], false
	if cap(p.bodies) > mostBodies || cap(p.records) > mostRecords {
		p.records, p.bodies = nil, nil
	}
}
