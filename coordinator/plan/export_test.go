package plan

import "muster/shard"

// A Planner is the layout that a leader keeps from plan to plan.
type Planner struct{ l layout }

// Plan follows the view and plans, and returns how many moves that came to.
func (p *Planner) Plan(v *shard.View, loads Loads) int {
	p.l.follow(v, func(m shard.Member) bool { return !m.Maintenance })
	p.l.loads = loads
	p.l.plan(everything)
	return len(p.l.planned)
}

// PlanSome is Plan that may stop when more than enough is planned.
func (p *Planner) PlanSome(v *shard.View, enough int) int {
	p.l.follow(v, func(m shard.Member) bool { return !m.Maintenance })
	p.l.plan(enough)
	return len(p.l.planned)
}

// Moves are those of the last plan.
func (p *Planner) Moves() []Move { return p.l.moves(len(p.l.planned)) }

// Measured is what the driver knows of loads.
func (d *Driver) Measured() Loads { return d.meter.measured() }
