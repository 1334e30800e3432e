package simulation

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"muster/shard"
)

// Act is a kind of thing that happens to a cluster: a fault, or what its operators do.
type Act int

// The acts. Each has a row in the table below.
const (
	Kill Act = iota
	PauseNode
	CutOff
	Bridge
	Isolate
	Mend
	SlowDisk
	StallDisk
	Weather
	StrikeOwner
	StrikeLeader
	Doubt
	Duel
	Siege
	Blackout
	Wipe
	FailSync
	SetBack
	Rot
	Restart
	Drain
	Cordon
	Maintain
	MoveShard
	PinShard
	PauseMoves
	Join
	RemoveNode
	TransferLead
	Lower
	Forsake
	BeginAnew
	Acts // how many there are
)

// acts says what each act is called, how often it comes beside the others, and what it does.
var acts = [Acts]struct {
	name   string
	weight int
	run    func(*world, *node)
}{
	Kill:         {"kill", 4, (*world).killOne},
	PauseNode:    {"pause", 3, (*world).pause},
	CutOff:       {"cut", 3, (*world).cutOff},
	Bridge:       {"bridge", 1, (*world).bridge},
	Isolate:      {"isolate", 2, (*world).isolate},
	Mend:         {"mend", 2, func(w *world, _ *node) { w.mend() }},
	SlowDisk:     {"slow-disk", 2, (*world).slow},
	StallDisk:    {"stall-disk", 2, (*world).stall},
	Weather:      {"weather", 1, func(w *world, _ *node) { w.weather() }},
	StrikeOwner:  {"strike-owner", 2, (*world).strikeOwner},
	StrikeLeader: {"strike-leader", 1, (*world).strikeLeader},
	Doubt:        {"doubt", 2, (*world).doubt},
	Duel:         {"duel", 1, (*world).duel},
	Siege:        {"siege", 1, (*world).siege},
	Blackout:     {"blackout", 1, (*world).blackout},
	Wipe:         {"wipe", 1, (*world).wipeOne},
	FailSync:     {"fail-sync", 1, (*world).failSync},
	SetBack:      {"set-back", 1, (*world).setBack},
	Rot:          {"rot", 1, (*world).rot},
	Restart:      {"restart", 3, (*world).restart},
	Drain:        {"drain", 2, (*world).drain},
	Cordon:       {"cordon", 1, (*world).cordon},
	Maintain:     {"maintain", 1, (*world).maintain},
	MoveShard:    {"move", 4, (*world).moveShard},
	PinShard:     {"pin", 1, (*world).pinShard},
	PauseMoves:   {"pause-moves", 1, (*world).pauseMoves},
	Join:         {"join", 2, (*world).join},
	RemoveNode:   {"remove", 1, (*world).removeNode},
	TransferLead: {"transfer", 1, (*world).transferLead},
	Lower:        {"degrade", 3, (*world).lower},
	Forsake:      {"recover", 3, (*world).forsake},
	BeginAnew:    {"begin-anew", 1, (*world).forsake},
}

// String is the act's name.
func (a Act) String() string { return acts[a].name }

// swarm is what a run does to its cluster. Each seed draws which acts it knows and how often each comes: with all of them at
// once a run rarely gets far with any (Groce et al., "Swarm Testing", 2012).
type swarm struct {
	on     []Act // an act stands there as often as its weight says
	least  time.Duration
	most   time.Duration // between two acts
	harry  float64       // the share of elected primaries that die before they serve
	target float64       // the share of copies wished to lead that die
	drift  bool
	rift   float64 // the share of changes of C and of hand-overs along which a shard is torn apart
	dawdle float64 // the share of reports that come late, and perhaps beside one that did not

	lag       float64 // the share of hand-overs that leave copies behind
	stillborn float64 // the share of copies that are lost with their journal before anybody has heard of them

	shorten float64 // the share of a copy's ticks at which its log is to start later

	whims float64 // the share of a primary's ticks at which it wants some C for no reason

	mixed bool // some processes are of an earlier build, which takes no lead that is active at once

	slowHandlers float64 // the share of commands whose handlers take a while
	barriers     bool
}

// whimsical says in which seeds primaries want any C they may propose, now and then: one of so many. Mixed says in which of them some
// processes are of an earlier build, and leasing in which of them reads go by the lease while it runs.
const (
	whimsical = 7
	mixed     = 5
	leasing   = 4
)

// leases reports whether reads go by the lease while it runs.
func (w *world) leases() bool { return w.seed%leasing == leasing-1 }

// heir reports whether the process of a session begins an epoch that is active already, as one of an earlier build does not.
func (s *swarm) heir(id shard.SessionID) bool { return !s.mixed || id%3 != 0 }

func (w *world) drawSwarm() swarm {
	s := swarm{least: 30 * time.Millisecond, most: w.between(300*time.Millisecond, 1500*time.Millisecond), drift: w.chance(0.7), barriers: w.chance(0.4)}
	for a := range Acts {
		if !w.chance(0.5) {
			continue
		}
		for range acts[a].weight * (1 + w.dice.IntN(3)) {
			s.on = append(s.on, a)
		}
	}
	if len(s.on) == 0 {
		s.on = []Act{Kill}
	}
	if w.chance(0.3) {
		s.harry = 0.6 * w.dice.Float64()
	}
	if w.chance(0.3) {
		s.target = 0.5 * w.dice.Float64()
	}
	if w.chance(0.5) {
		s.shorten = 0.3 * w.dice.Float64()
	}
	if w.chance(0.5) {
		s.slowHandlers = 0.3 * w.dice.Float64()
	}
	if w.chance(0.25) {
		s.rift = w.dice.Float64()
	}
	if w.seed%whimsical == 0 {
		s.whims = 0.15
	}
	if w.chance(0.25) || s.whims > 0 && w.chance(0.5) {
		s.dawdle = 0.5 * w.dice.Float64()
	}
	if w.chance(0.25) {
		s.lag = 1 - 0.5*w.dice.Float64()
	}
	if w.chance(0.2) {
		s.stillborn = 0.5 * w.dice.Float64()
	}
	s.mixed = w.seed%mixed == 0
	return s
}

func (s *swarm) String() string {
	var names []string
	for a := range Acts {
		n := 0
		for _, on := range s.on {
			if on == a {
				n++
			}
		}
		if n > 0 {
			names = append(names, fmt.Sprintf("%s×%d", a, n))
		}
	}
	return fmt.Sprintf("an act every %s at most: %s; elected killed %.2f, targets killed %.2f, slow handlers %.2f, logs shortened %.2f, whims %.2f, rifts %.2f, lags %.2f, stillborn %.2f, reports late %.2f, drift %t, barriers %t",
		s.most.Round(time.Millisecond), strings.Join(names, " "), s.harry, s.target, s.slowHandlers, s.shorten, s.whims, s.rift, s.lag, s.stillborn, s.dawdle, s.drift, s.barriers)
}

// disturb does something now and plans the next.
func (w *world) disturb() {
	if w.healed {
		return
	}
	w.after(w.between(w.swarm.least, w.swarm.most), w.disturb)
	if w.torn {
		return
	}
	a := pick(w, w.swarm.on)
	acts[a].run(w, pick(w, w.nodes))
}

// did counts an act that really took place.
func (w *world) did(a Act, format string, args ...any) {
	w.acted[a]++
	w.note(uint64(a))
	if w.trace != nil {
		w.log("%s: %s", a, fmt.Sprintf(format, args...))
	}
}

// cut breaks a link in one direction.
func (w *world) cut(from, to *node) {
	if from != to && !w.healed {
		w.net.cut[[2]*node{from, to}] = true
	}
}

// part cuts two groups of nodes off from each other.
func (w *world) part(some, others []*node) {
	for _, a := range some {
		for _, b := range others {
			w.cut(a, b)
			w.cut(b, a)
		}
	}
}

// others lists the nodes but one.
func (w *world) others(n *node) []*node {
	return slices.DeleteFunc(slices.Clone(w.nodes), func(o *node) bool { return o == n })
}
