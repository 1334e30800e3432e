package plan

import (
	"math"
	"time"

	"muster/shard"
)

// A Sample is what a primary counted of its shard since its process began, and how long its log is.
type Sample struct {
	Shard    shard.ID
	Messages uint64
	Bytes    uint64 // of those messages
	Records  uint64
}

// halfLife is after how long what was measured counts half.
const halfLife = time.Minute

// A meter makes loads of samples. It is a leader's memory: another leader measures anew, and moves nothing for load until it has.
type meter struct {
	last  map[shard.ID]reading
	loads Loads
}

// reading is the newest sample of a shard.
type reading struct {
	Sample
	session shard.SessionID // that counted
	at      time.Duration
	known   bool // there were two of the session: the load is one
}

// Observe notes what the process of a session counted. Samples of shards that the map does not have, or that another session leads,
// are dropped.
func (d *Driver) Observe(now time.Duration, v *shard.View, session shard.SessionID, samples []Sample) {
	m := &d.meter
	if m.last == nil {
		m.last, m.loads = map[shard.ID]reading{}, Loads{}
	}
	for _, s := range samples {
		p := v.Placement(s.Shard)
		if p == nil || p.Session != session || session == 0 {
			continue
		}
		list := m.loads[s.Shard.Type]
		if list == nil {
			list = make([]Load, len(v.Types[s.Shard.Type].Placements))
			m.loads[s.Shard.Type] = list
		}
		m.note(now, session, s, &list[s.Shard.Number])
	}
}

func (m *meter) note(now time.Duration, session shard.SessionID, s Sample, to *Load) {
	old := m.last[s.Shard]
	next := reading{Sample: s, session: session, at: now, known: old.known}
	to.Stored = float64(s.Records)
	passed := now - old.at
	if old.session == session && s.Messages >= old.Messages && s.Bytes >= old.Bytes {
		if passed <= 0 {
			return
		}
		weight := 1.0
		if old.known {
			weight = 1 - math.Exp2(-float64(passed)/float64(halfLife))
		}
		to.Messages += weight * (float64(s.Messages-old.Messages)/passed.Seconds() - to.Messages)
		to.Bytes += weight * (float64(s.Bytes-old.Bytes)/passed.Seconds() - to.Bytes)
		next.known = true
	}
	m.last[s.Shard] = next
}

// measured are the loads of the types of which most shards are known: of the others it would be guessing.
func (m *meter) measured() Loads {
	known := map[shard.TypeName]int{}
	for id, r := range m.last { //lint:maporder a count
		if r.known {
			known[id.Type]++
		}
	}
	loads := Loads{}
	for name, list := range m.loads { //lint:maporder each is judged by itself
		if 10*known[name] >= 9*len(list) {
			loads[name] = list
		}
	}
	return loads
}
