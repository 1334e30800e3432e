package plan

import (
	"fmt"
	"maps"
	"slices"
	"time"
)

// Explain says of each seat who holds it, and when it is not as it should be, why, and when that changes; after Next, of the same
// input.
func (e *Electorate) Explain(in VotersInput) []Line {
	if in.View.Group == "" || len(in.Seats) == 0 {
		return nil
	}
	b := &ballot{VotersInput: in, e: e}
	lines := make([]Line, 0, len(in.Seats)+1)
	for _, s := range in.Seats {
		if s.Voter {
			lines = append(lines, b.explainVoter(s))
		} else {
			left := e.added[s] + e.CatchUp - in.Now
			lines = append(lines, Line{AwaitCatchUp, fmt.Sprintf("%s is being brought up to date, to vote then; it has %s left for that", s.Node, round(left))})
		}
	}
	if step, due := b.change(); due && step.Action == LeaveAsIs && step.Reason != AwaitCatchUp {
		lines = append(lines, b.explainWait(step))
	}
	for _, directory := range slices.Sorted(maps.Keys(e.slow)) {
		for _, id := range slices.Sorted(maps.Keys(in.View.Members)) {
			if in.View.Members[id].Directory == directory {
				lines = append(lines, Line{NewcomerSlow, fmt.Sprintf("%s did not catch up in time, and is tried again in %s", id, round(e.slow[directory]+e.CatchUp-in.Now))})
			}
		}
	}
	return lines
}

func (b *ballot) explainVoter(s Seat) Line {
	m, held := b.holder(s)
	since, down := b.e.down[s]
	switch {
	case m.ID == "":
		return Line{VoterRemoved, fmt.Sprintf("%s was removed: a member takes its seat", s.Node)}
	case !held:
		return Line{VoterWiped, fmt.Sprintf("%s has lost the directory that voted: its seat goes to a member, itself first", s.Node)}
	case !down:
		return Line{Text: fmt.Sprintf("%s is up, and votes", s.Node)}
	case m.Maintenance:
		return Line{AwaitReturn, fmt.Sprintf("%s is down for %s; it is under maintenance and keeps its seat", s.Node, round(b.Now-since))}
	case b.Now < since+b.e.Replace:
		return Line{AwaitReturn, fmt.Sprintf("%s is down for %s; in %s a member takes its seat", s.Node, round(b.Now-since), round(since+b.e.Replace-b.Now))}
	default:
		return Line{VoterDown, fmt.Sprintf("%s is down for %s: a member takes its seat", s.Node, round(b.Now-since))}
	}
}

// explainWait says what a change that is due waits for.
func (b *ballot) explainWait(step VoterStep) Line {
	if step.Reason == BelowQuorum {
		return Line{BelowQuorum, fmt.Sprintf("%s keeps its seat until the leader hears from a majority of the other voters", step.Seat.Node)}
	}
	seat := "a vacant seat"
	if step.Seat.Node != "" {
		seat = fmt.Sprintf("the seat of %s", step.Seat.Node)
	}
	return Line{AwaitCandidate, fmt.Sprintf("no member without a vote could take %s: it must be up, and neither marked nor leaving", seat)}
}

func round(d time.Duration) time.Duration { return max(0, d).Round(time.Second) }
