package plan

import (
	"fmt"
	"slices"
	"strings"

	"muster/fsm"
	"muster/shard"
)

// Candidate is what each rule says of a node as the place of one more copy of a shard, or of a volatile shard itself.
type Candidate struct {
	Node      shard.NodeID
	Against   []Reason // the rules that rule it out, none when it may take it
	Best      bool     // where the planner would put the copy now
	Leads     bool     // it leads the shard, or is about to
	Sharing   int      // copies of the shard in its zone
	Copies    int      // of the type, with those on their way there; of a node that is down, those it should come back with
	Primaries int      // of the type, with those on their way there; of a node that is down none
}

// Verdict is what the rules come to, in a few words.
func (c Candidate) Verdict() string {
	var words []string
	if c.Leads {
		words = append(words, "leads it")
	}
	for _, r := range c.Against {
		words = append(words, string(r))
	}
	switch {
	case len(words) > 0:
		return strings.Join(words, ", ")
	case c.Best:
		return "the best place"
	}
	return "may take it"
}

// String is a line for scripts.
func (c Candidate) String() string {
	return fmt.Sprintf("%s: %s; %d copies in its zone; %d copies and %d primaries of the type", c.Node, c.Verdict(), c.Sharing, c.Copies, c.Primaries)
}

// Candidates says of each member, by name, what speaks for and against one more copy of the shard there. It goes by the map alone,
// so every node can answer; nil when there is no such shard.
func Candidates(v *shard.View, id shard.ID) []Candidate {
	if t := v.Types[id.Type]; t == nil || int(id.Number) >= len(t.Placements) {
		return nil
	}
	l := survey(v, func(m shard.Member) bool { return !m.Maintenance })
	t := l.tables[slices.IndexFunc(l.tables, func(t *table) bool { return t.spec.Name == id.Type })]
	t.admit()
	row, best := int32(id.Number), nowhere
	if t.placement(row) != nil {
		best = t.tactics.room(t, row, nowhere)
	}
	all := make([]Candidate, len(l.sites))
	for i := range l.sites {
		s := int32(i)
		all[i] = Candidate{
			Node: l.sites[i].member.ID, Against: t.against(row, s), Best: s == best, Leads: t.lead[row] == s,
			Sharing: t.sharing(row, s, nowhere), Copies: int(t.copies[s]), Primaries: int(t.leads[s]),
		}
		if !l.sites[i].up { // the planner still counts on what it led
			all[i].Copies, all[i].Primaries, all[i].Leads = t.resting(l.sites[i].member.ID), 0, false
		}
	}
	return all
}

// resting counts the copies in the directory of a node that is down. The planner counts on none of them.
func (t *table) resting(node shard.NodeID) int {
	n := 0
	for _, p := range t.view.Placements {
		if p != nil && slices.ContainsFunc(p.Copies, func(c shard.Copy) bool { return c.Node == node && c.State == shard.CopyReady }) {
			n++
		}
	}
	return n
}

// against lists every rule that keeps a copy of the row from the site.
func (t *table) against(i, s int32) (rules []Reason) {
	m := t.sites[s].member
	for _, rule := range []struct {
		broken bool
		why    Reason
	}{
		{t.taken(i, s) || t.spec.Volatile && t.lead[i] == s && t.sites[s].up, HasCopy},
		{!t.sites[s].up, NodeDown},
		{!fsm.Eligible(m, t.spec), NotEligible},
		{m.Draining, NodeDrains},
		{m.Leaving, NodeLeaves},
		{m.Cordoned, NodeCordoned},
	} {
		if rule.broken {
			rules = append(rules, rule.why)
		}
	}
	return rules
}
