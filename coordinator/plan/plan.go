// Package plan decides what the leader of a group should do next: end sessions whose leases ran out, recover their shards,
// and place new ones. A view of the group goes in, the next safe steps come out, each with its reason; so does, for every
// shard that is not served, the reason why nothing is done.
//
// Nothing here acts. A Step is a command to propose or seals to send; the coordinator does it and comes back. Every
// command is a compare-and-set on the epoch and version it was planned for, so a plan made from an old view is harmless.
// Time comes in with the Input. The same calls give the same steps, on every machine.
//
// The whole of it: Next walks the sessions (sessions.go), then the shards: those without a primary are sealed and get one
// elected (recovery.go), elected ones are activated (establishing.go), new ones get nodes (placement.go, allocation.go).
package plan

import (
	"cmp"
	"maps"
	"slices"
	"time"

	"muster/fsm"
	"muster/shard"
)

// Limits of one Step.
const (
	MaxBatch = 4_096 // shards of one command, or seals of one call
)

// Times are the intervals the driver goes by.
//
//lint:fields each is the patience of one rule
type Times struct {
	Lease     time.Duration // a session without a renewal for so long is over, if it has not said how long; see lengths
	Autonomy  time.Duration // a primary that cannot reach the coordinator confirms nothing any more so long after its lease; likewise
	Grace     time.Duration // a new leader, or one that stood still, lets sessions renew with it for so long before it ends the first
	SealAgain time.Duration // a copy that has not answered is asked again
	Gather    time.Duration // once enough copies answered, the others get so long to show a better log
	Reluctant time.Duration // the same before a copy is elected that could not go on a moment ago
	Establish time.Duration // an elected copy that is not ready to serve by then gives way, though enough copies are up
	Relent    time.Duration // the next one gets twice that time, and so on up to this
	Place     time.Duration // a new type, or a forming shard, waits so long for all the nodes it wants
	Found     time.Duration // a node that is up and has not created a forming shard's copy by then gives way to others
	Settle    time.Duration // a new type waits so long for voters that are down though enough others are up
	Retry     time.Duration // a proposal without visible effect is repeated

	Rebuild  time.Duration // a node that is down for so long is given up: its copies are made elsewhere
	Replan   time.Duration // while the map changes, moves are planned anew no more often
	Weigh    time.Duration // what shards are asked is weighed anew so often
	Cooldown time.Duration // a shard that was moved is not moved for balance again so soon
	HandOver time.Duration // a primary that was asked to hand over and has not is let go on
	Create   time.Duration // a node that has not created a learner by then does not get it
	Again    time.Duration // what was given up is tried again
	Shun     time.Duration // such a node gets no copy while another could take it
}

// DefaultTimes returns the intervals of the product. Grace is two renewals long: with Raft's usual election it costs a
// failover nothing, for the lease runs on meanwhile, and without it a slow election would end every session at once.
func DefaultTimes() Times {
	return Times{
		Lease: 2 * time.Second, Autonomy: shard.Autonomy, Grace: 800 * time.Millisecond, SealAgain: 250 * time.Millisecond,
		Gather: 50 * time.Millisecond, Reluctant: time.Second, Establish: 5 * time.Second, Relent: time.Minute, Place: 10 * time.Second, Found: time.Minute, Settle: time.Second,
		Retry: 500 * time.Millisecond, Rebuild: time.Minute, Replan: 200 * time.Millisecond, Weigh: time.Minute, Cooldown: 30 * time.Second,
		HandOver: 5 * time.Second, Create: 10 * time.Second, Again: 5 * time.Second,
		Shun: 30 * time.Second,
	}
}

// Input is what Next decides from.
type Input struct {
	Now   time.Duration // the leader's monotonic clock; it never goes back while the Driver lives
	State *fsm.State
	// Renewed tells when this voter stored a live session's newest renewal, or its registration when it has not renewed
	// yet, and that renewal's number. For one stored before this process started it is the start of the process.
	Renewed     func(shard.SessionID) (at time.Duration, number uint64)
	LeaderSince time.Duration // when this voter became the leader
	Reads       byte          // the newest version of entries that every voter reads, as far as they have said
}

// Step is one thing to do: propose Command, or send Seal to Node. One with neither is a skip: its notes say why nothing is
// done about a shard.
type Step struct {
	Command fsm.Command
	Node    shard.NodeID
	Seal    []shard.SealItem
	Notes   []Note // why, one for each session or shard concerned; none for seals
}

// Driver is a leader's memory of what is under way: who answered a Seal, what was asked and proposed, and since when. It
// holds nothing that a new leader could not find out again, so each leadership starts with a new Driver.
//
// A Driver belongs to one goroutine.
type Driver struct {
	Times  Times  // may be changed before the first call
	Budget Budget // likewise

	still  *shard.View          // the newest view, if nothing is to be done about any shard in it whatever the time; nil otherwise
	shards map[shard.ID]*memory // of shards that are not served, and of those somebody reported on
	fresh  map[shard.TypeName]*fresh
	expiry map[shard.SessionID]time.Duration // when Expire was proposed last
	raised time.Duration                     // when RaiseVersion was proposed last; unset when 0
	looked time.Duration                     // the last Next; unset when 0
	awoke  time.Duration                     // when a Next came after the leader had stood still; unset when 0
	moving moving
	meter  meter
}

// memory is what the driver remembers of one shard. What belongs to an epoch is forgotten with it; left and led outlive
// failed epochs, for they are about the session that served last.
type memory struct {
	epoch   shard.Epoch
	version shard.ConfigVersion
	status  shard.Status
	since   time.Duration // when the driver first saw epoch, version and status together

	active shard.Epoch   // the epoch that was served last; left and led belong to it
	left   time.Duration // when the driver first saw the shard without that epoch's primary
	led    shard.CopyID  // a copy that has answered a Seal since, as one that led before
	stalls int           // elections since that came to nothing though enough copies were up

	answers  []shard.Sealed // of epoch, by copy
	asked    map[shard.CopyID]time.Duration
	enough   time.Duration // when answers first sufficed for an election; unset when 0
	proposed time.Duration // when the last command was proposed; unset when 0
	report   shard.Report  // the newest of its primary
}

// NewDriver returns the driver of a leadership that begins.
func NewDriver() *Driver {
	return &Driver{
		Times:  DefaultTimes(),
		Budget: DefaultBudget(),
		shards: map[shard.ID]*memory{},
		fresh:  map[shard.TypeName]*fresh{},
		expiry: map[shard.SessionID]time.Duration{},
		moving: newMoving(),
	}
}

// Sealed notes a copy's answer to a Seal. Answers of another epoch than the one under way are dropped.
func (d *Driver) Sealed(s shard.Sealed) {
	m := d.shards[s.Shard]
	if m == nil || s.Epoch != m.epoch || m.status != shard.Recovering || s.Fault != nil {
		return
	}
	if s.Led {
		m.led = s.Copy
	}
	i, known := slices.BinarySearchFunc(m.answers, s.Copy, func(a shard.Sealed, id shard.CopyID) int { return cmp.Compare(a.Copy, id) })
	if !known && len(m.answers) <= shard.MaxReplicas {
		m.answers = slices.Insert(m.answers, i, s)
	}
}

// Report notes that a primary is established, cannot go on, or could not hand over. Reports of other kinds are none of the
// driver's: they are proposed as they are.
func (d *Driver) Report(r shard.Report) {
	if r.Kind == shard.ReportStalledHandoff {
		d.moving.stalled[r.Shard] = r
		return
	}
	if r.Kind != shard.ReportEstablished && r.Kind != shard.ReportRecover {
		return
	}
	m := d.shards[r.Shard]
	if m == nil {
		m = &memory{}
		d.shards[r.Shard] = m
	}
	if r.Epoch >= m.report.Epoch {
		m.report = r
	}
}

// Next returns every step that is due, in the order in which they should be taken: rules first, then sessions, for their end opens
// recoveries, then what brings shards back, then new ones, then what moves shards that are served. Steps of a kind are batched.
func (d *Driver) Next(in Input) []Step {
	b := &batch{in: in, d: d, view: in.State.View}
	if b.view.Group == "" {
		return nil
	}
	b.version()
	b.wake()
	b.sessions()
	b.shards()
	b.move()
	return b.steps()
}

// shards looks at every shard, except those of types in which there was nothing to do, by the same sessions, and that have not
// changed since: what is not served is looked at each time, for then the time matters.
func (b *batch) shards() {
	still := b.d.still
	if still == nil || len(b.d.shards) > 0 || still.LastSession != b.view.LastSession || len(still.Sessions) != len(b.view.Sessions) {
		still = &shard.View{} // sessions only come with a higher number, so the same number of them are the same
	}
	for _, name := range slices.Sorted(maps.Keys(b.view.Types)) {
		if t := b.view.Types[name]; still.Types[name] != t {
			b.ofType(t)
		}
	}
	b.d.forget(b.view)
	b.d.still = nil
	if !b.restless {
		b.d.still = b.view
	}
}

// batch gathers the steps of one Next.
//
//lint:fields a list for each kind of step
type batch struct {
	in    Input
	d     *Driver
	view  *shard.View
	loads *loads // counted when first needed

	openTo map[shard.TypeName][]shard.Member // those that are open, of types with shards whose first copies are late

	restless bool // a shard may want something, sooner or later, though the view stays as it is
	raise    []Step
	expire   []Step
	recover  map[shard.Cause]*lot[fsm.Recovery]
	seals    map[shard.NodeID][]shard.SealItem
	promote  lot[fsm.Promotion]
	elect    lot[fsm.Election]
	activate lot[fsm.Activation]
	place    lot[fsm.Placing]
	wish     lot[fsm.Wishing]
	floors   lot[fsm.Degrading]
	learn    lot[fsm.NewLearner]
	unlearn  lot[fsm.LearnerItem]
	skips    []Step
}

// lot is the items of one kind of command, with their reasons.
type lot[T any] struct {
	items []T
	notes []Note
}

func (l *lot[T]) add(item T, n Note) {
	l.items, l.notes = append(l.items, item), append(l.notes, n)
}

// steps cuts a lot into commands of at most MaxBatch items.
func (l *lot[T]) steps(command func([]T) fsm.Command) []Step {
	var out []Step
	for len(l.items) > 0 {
		n := min(len(l.items), MaxBatch)
		out = append(out, Step{Command: command(l.items[:n:n]), Notes: l.notes[:n:n]})
		l.items, l.notes = l.items[n:], l.notes[n:]
	}
	return out
}

func (b *batch) skip(n Note) { b.skips = append(b.skips, Step{Notes: []Note{n}}) }

// ofType looks at every shard of a type.
func (b *batch) ofType(t *shard.TypeView) {
	var unplaced []shard.ID
	for i, p := range t.Placements {
		if p == nil {
			b.restless = true
			unplaced = append(unplaced, shard.ID{Type: t.Spec.Name, Number: shard.Number(i)})
			continue
		}
		b.ofShard(t.Spec, p)
	}
	b.placeFresh(t.Spec, unplaced)
}

// ofShard looks at one shard that is placed.
func (b *batch) ofShard(spec shard.Spec, p *shard.Placement) {
	b.restless = b.restless || p.Status != shard.Active || p.Floor != 0
	if p.Status == shard.Active {
		b.ofActive(p, b.d.shards[p.Shard])
		b.withdrawFloor(spec, p)
		return
	}
	m := b.d.recall(p, b.in.Now)
	switch p.Status {
	case shard.Forming:
		b.ofForming(spec, p, m)
	case shard.Recovering:
		b.ofRecovering(spec, p, m)
	case shard.Establishing:
		b.ofEstablishing(spec, p, m)
	}
}

// recall returns the shard's memory, having forgotten what belongs to an older placement.
func (d *Driver) recall(p *shard.Placement, now time.Duration) *memory {
	m := d.shards[p.Shard]
	if m == nil {
		m = &memory{}
		d.shards[p.Shard] = m
	}
	if m.status == 0 || m.status == shard.Active || m.active != p.ActiveEpoch {
		m.active, m.left, m.led, m.stalls = p.ActiveEpoch, now, 0, 0
	}
	if m.epoch != p.Epoch || m.version != p.Version || m.status != p.Status {
		if p.Status == shard.Recovering && p.Cause == shard.CauseStalled {
			m.stalls++
		}
		*m = memory{
			epoch: p.Epoch, version: p.Version, status: p.Status, since: now,
			active: m.active, left: m.left, led: m.led, stalls: m.stalls, report: m.report, asked: map[shard.CopyID]time.Duration{},
		}
	}
	return m
}

// forget drops what is remembered of shards that are served, or that somebody reported on and nobody knows.
func (d *Driver) forget(v *shard.View) {
	for id, m := range d.shards { //lint:maporder each entry is judged by itself
		p := v.Placement(id)
		if p == nil || (p.Status == shard.Active && m.report.Epoch <= p.Epoch) {
			delete(d.shards, id)
		}
	}
	for id := range d.expiry { //lint:maporder each entry is judged by itself
		if v.Ended(id) {
			delete(d.expiry, id)
		}
	}
}

// due reports whether a command about the shard may be proposed now, and notes that it is.
func (b *batch) due(m *memory) bool {
	if m.proposed != 0 && b.in.Now < m.proposed+b.d.Times.Retry {
		return false
	}
	m.proposed = b.in.Now
	return true
}

// steps returns what was gathered.
func (b *batch) steps() []Step {
	out := append(b.raise, b.expire...)
	for _, cause := range slices.Sorted(maps.Keys(b.recover)) {
		out = append(out, b.recover[cause].steps(func(i []fsm.Recovery) fsm.Command {
			return &fsm.BeginRecovery{Items: i, Cause: cause}
		})...)
	}
	for _, node := range slices.Sorted(maps.Keys(b.seals)) {
		for items := range slices.Chunk(b.seals[node], MaxBatch) {
			out = append(out, Step{Node: node, Seal: items})
		}
	}
	out = append(out, b.promote.steps(func(i []fsm.Promotion) fsm.Command { return &fsm.Promote{Items: i} })...)
	out = append(out, b.elect.steps(func(i []fsm.Election) fsm.Command { return &fsm.Elect{Items: i} })...)
	out = append(out, b.activate.steps(func(i []fsm.Activation) fsm.Command { return &fsm.Activate{Items: i} })...)
	out = append(out, b.place.steps(func(i []fsm.Placing) fsm.Command { return &fsm.Place{Items: i} })...)
	out = append(out, b.unlearn.steps(func(i []fsm.LearnerItem) fsm.Command { return &fsm.DropLearner{Items: i} })...)
	out = append(out, b.floors.steps(func(i []fsm.Degrading) fsm.Command { return &fsm.Degrade{Items: i} })...)
	out = append(out, b.wish.steps(func(i []fsm.Wishing) fsm.Command { return &fsm.Wish{Items: i} })...)
	out = append(out, b.learn.steps(func(i []fsm.NewLearner) fsm.Command { return &fsm.AddLearner{Items: i} })...)
	return append(out, b.skips...)
}
