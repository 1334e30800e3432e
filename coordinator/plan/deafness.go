package plan

import (
	"time"

	"muster/shard"
)

// Deafness tells a leader when to give the lead to another voter. Raft leads on as long as its own streams carry, though the
// calls by which sessions are renewed may not arrive: such a leader ends the session of everybody but itself, and nothing is
// served for as long as that lasts. A majority of the voters answers it, or it would not lead, so when the map shows no
// majority of them with a session, the leader is what is wrong.
//
// It belongs to one leadership and one goroutine. The zero value is ready.
type Deafness struct {
	heard bool // this leader has had a majority
	deaf  bool
	since time.Duration
}

// shy is how many leases a leader is given to hear from a majority for the first time: the sessions that a deaf one has ended
// must be opened anew with the next.
const shy = 3

// Next reports whether the lead should be given up now: fewer than a majority of the voters have had a session for a lease.
// Then it starts over. Voters without a vote yet do not count.
func (d *Deafness) Next(now, lease time.Duration, v *shard.View, seats []Seat) bool {
	voters, up := 0, 0
	for _, s := range seats {
		if !s.Voter {
			continue
		}
		voters++
		if m, known := v.Members[s.Node]; known && m.Directory == s.Directory && v.Up(s.Node) {
			up++
		}
	}
	if 2*up > voters {
		d.heard, d.deaf = true, false
		return false
	}
	patience := lease
	if !d.heard {
		patience = shy * lease
	}
	if !d.deaf {
		d.deaf, d.since = true, now
	}
	if now < d.since+patience {
		return false
	}
	d.deaf = false
	return true
}
