package coordinator

import (
	"fmt"
	"strings"
	"time"

	"muster/coordinator/plan"
	"muster/shard"
)

// shardsNamed bounds how many shards a refusal names.
const shardsNamed = 16

// refuseDrain says why a node cannot be drained: without it a shard would have fewer copies that are up than it needs to
// write, and no other member could take a copy. Draining goes by replacing copies one at a time, so a shard for which there is
// a place elsewhere is safe at every step.
func refuseDrain(v *shard.View, node shard.NodeID) error {
	stuck := plan.Stranded(v, node)
	if len(stuck) == 0 {
		return nil
	}
	return &shard.Error{
		Code: shard.CodeConflict, Shard: stuck[0], Node: node,
		Detail: fmt.Sprintf("without node %s these shards could not be written, and no other member can take their place: %s", node, named(stuck)),
	}
}

// missing says what of a node and a shard that somebody named there is not; nil when it is all there. "" and a shard without a type
// name nothing.
func missing(v *shard.View, node shard.NodeID, id shard.ID) error {
	if _, known := v.Members[node]; !known && node != "" {
		return &shard.Error{Code: shard.CodeNotFound, Node: node, Detail: "there is no node " + string(node)}
	}
	t := v.Types[id.Type]
	switch {
	case id.Type == "":
		return nil
	case t == nil:
		return shard.Errorf(shard.CodeUnknownType, "no member hosts a type %q", id.Type)
	case int(id.Number) >= len(t.Placements):
		return shard.Errorf(shard.CodeNotFound, "there is no shard %s: type %s has %d, counted from 0", id, id.Type, len(t.Placements))
	}
	return nil
}

func named(ids []shard.ID) string {
	var b strings.Builder
	for i, id := range ids {
		if i == shardsNamed {
			fmt.Fprintf(&b, " and %d more", len(ids)-shardsNamed)
			break
		}
		if i > 0 {
			b.WriteString(", ")
		}
		b.WriteString(id.String())
	}
	return b.String()
}

// about is what the order is about, in words: the audit's before and after.
func (o Order) about(v *shard.View) string {
	switch o.Kind {
	case Pause:
		if !v.Paused {
			return "balancing"
		}
		return "paused" + until(v.PausedUntil)
	case Pin, Move:
		p := v.Placement(o.Shard)
		if p == nil {
			return "unplaced"
		}
		words := p.Status.String()
		if p.Node != "" {
			words += " on " + string(p.Node)
		}
		if p.Pinned != "" {
			words += ", pinned to " + string(p.Pinned)
		}
		return words
	case Recover, Discard, Degrade:
		p := v.Placement(o.Shard)
		if p == nil {
			return "unplaced"
		}
		about := fmt.Sprintf("%s in epoch %d, %d copies, write quorum %d", p.Status, p.Epoch, len(p.Copies), p.WriteQuorum)
		if p.Floor > 0 {
			about += fmt.Sprintf(" or down to %d", p.Floor)
		}
		return about + fmt.Sprintf(", %d kept aside", len(p.Aside))
	default:
		m, known := v.Members[o.Node]
		if !known {
			return "no member"
		}
		return marksOf(v, m)
	}
}

func marksOf(v *shard.View, m shard.Member) string {
	words := []string{"down"}
	if v.Up(m.ID) {
		words[0] = "up"
	}
	for _, mark := range []struct {
		on   bool
		word string
	}{{m.Cordoned, "cordoned"}, {m.Draining, "draining"}, {m.Leaving, "leaving"}, {m.Maintenance, "maintenance" + until(m.Until)}} {
		if mark.on {
			words = append(words, mark.word)
		}
	}
	return strings.Join(words, ", ")
}

func until(end int64) string {
	if end == 0 {
		return ""
	}
	return " until " + time.UnixMilli(end).UTC().Format(time.RFC3339)
}

// notes are what an operator may not expect.
func (o Order) notes(v *shard.View) []string {
	switch {
	case o.Kind == Pin && o.Node != "" && !v.Up(o.Node):
		return []string{fmt.Sprintf("node %s is down: the preference counts when it is back", o.Node)}
	case o.Kind == Drain && o.On && v.Paused:
		return []string{"balancing is paused: drains go on all the same"}
	}
	return nil
}
