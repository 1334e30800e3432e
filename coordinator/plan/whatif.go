package plan

import (
	"maps"
	"slices"

	"muster/fsm"
	"muster/shard"
)

// Outlook is what the loss of nodes would mean. A shard is in at most one of Stops and Degraded; one in LastCopy or Lossy is in
// Stops as well. All are in order.
type Outlook struct {
	Stops    []shard.ID // could not confirm any more, or find a primary, until nodes come back
	Degraded []shard.ID // would go on with fewer copies than the type wants
	LastCopy []shard.ID // no intact copy would be left, on nodes up or down
	Lossy    []shard.ID // would go on after a while all the same, without what only the lost copies hold
}

// WhatIf says what would become of the shards if the nodes were lost at once, now: before anything is repaired. Only shards
// that have something on one of them are judged; what is down anyway counts as lost.
func WhatIf(s *fsm.State, lost []shard.NodeID) Outlook {
	var o Outlook
	v := s.View
	for _, name := range slices.Sorted(maps.Keys(v.Types)) {
		t := v.Types[name]
		for _, p := range t.Placements {
			if p != nil {
				o.judge(v, t.Spec, p, lost)
			}
		}
	}
	return o
}

func (o *Outlook) judge(v *shard.View, spec shard.Spec, p *shard.Placement, lost []shard.NodeID) {
	if spec.Volatile {
		if slices.Contains(lost, p.Node) && !anyHost(v, spec, lost) {
			o.Stops = append(o.Stops, p.Shard)
		}
		return
	}
	touched, live, intact, led := false, 0, 0, false
	for _, c := range p.Copies {
		gone := slices.Contains(lost, c.Node)
		touched = touched || gone
		if c.State == shard.CopyLost || gone {
			continue
		}
		intact++
		if _, up := sessionOf(v, c); up && c.State == shard.CopyReady {
			live++
			led = led || c.ID == p.ActivePrimary
		}
	}
	leads := p.Status == shard.Active && !slices.Contains(lost, p.Node)
	switch {
	case !touched:
		return
	case live < p.WriteQuorum, !leads && !led && live < p.RecoveryQuorum():
		o.Stops = append(o.Stops, p.Shard)
		if spec.LossyAfter > 0 && live > 0 {
			o.Lossy = append(o.Lossy, p.Shard)
		}
	case live <= spec.Replicas:
		o.Degraded = append(o.Degraded, p.Shard)
	}
	if intact == 0 {
		o.LastCopy = append(o.LastCopy, p.Shard)
	}
}

// anyHost reports whether a member could take a volatile shard without the lost ones.
func anyHost(v *shard.View, spec shard.Spec, lost []shard.NodeID) bool {
	for id, m := range v.Members { //lint:maporder any one answers the question
		if v.Up(id) && fsm.Eligible(m, spec) && !slices.Contains(lost, id) {
			return true
		}
	}
	return false
}
