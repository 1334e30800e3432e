package plan

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"time"

	"muster/shard"
)

// VoterAction is what to do about a seat.
type VoterAction string

// The actions. Those that change Raft's configuration come one at a time, at most one in the steps of one Next.
const (
	AddNewcomer VoterAction = "add"       // into Raft's configuration, without a vote
	Promote     VoterAction = "promote"   // the newcomer gets its vote
	Dismiss     VoterAction = "dismiss"   // out of Raft's configuration
	Readdress   VoterAction = "readdress" // the configuration holds an old address
	AskToSit    VoterAction = "ask"       // the node should run Raft, and say how far it is
	AskToLeave  VoterAction = "ask-leave" // the node runs Raft but is in the configuration no more
	LeaveAsIs   VoterAction = "wait"
)

// Why the voters change, or do not.
const (
	VoterRemoved   Reason = "voter-removed"   // an operator took the node out of the group
	VoterWiped     Reason = "voter-wiped"     // the node has another data directory: the one that voted is gone
	VoterDown      Reason = "voter-down"      // its session has been over for too long
	SeatVacant     Reason = "seat-vacant"     // the number of voters is even
	CaughtUp       Reason = "caught-up"       // it has applied what the leader has
	NewcomerGone   Reason = "newcomer-gone"   // it went, or is to stop, before it had a vote
	NewcomerSlow   Reason = "newcomer-slow"   // it did not catch up in time
	NotNeeded      Reason = "not-needed"      // every seat is taken
	AddressChanged Reason = "address-changed" // the node is elsewhere now
	RaftNotRunning Reason = "raft-not-running"
	SeatTaken      Reason = "seat-taken"      // the group has replaced it
	AwaitCatchUp   Reason = "await-catch-up"  // the newcomer is being brought up to date
	AwaitCandidate Reason = "await-candidate" // no live member without a vote could replace the voter
	BelowQuorum    Reason = "below-quorum"    // the leader hears too few of the other voters to do without it
)

// Seat is a place in Raft's configuration.
type Seat struct {
	Node      shard.NodeID
	Directory shard.DirectoryID
	Addr      string
	Voter     bool
}

func (s Seat) String() string { return fmt.Sprintf("%s@%s", s.Node, s.Directory) }

// VoterStep is one thing to do about the voters, and why.
type VoterStep struct {
	Action VoterAction
	Seat   Seat
	Reason Reason
	For    Seat // whom the seat's node is to replace, when that is why
}

// String is a line for people and scripts.
func (s VoterStep) String() string {
	line := fmt.Sprintf("%s %s: %s", s.Action, s.Seat, s.Reason)
	if s.For.Node != "" && s.For != s.Seat {
		line += fmt.Sprintf(" (for %s)", s.For)
	}
	return line
}

// VotersInput is what an Electorate decides from. Seats must be Raft's newest configuration, and committed: while a change is
// under way there is nothing to decide.
type VotersInput struct {
	Now      time.Duration // the leader's monotonic clock
	View     *shard.View
	Leader   shard.NodeID
	Seats    []Seat
	CaughtUp func(Seat) bool // the node has applied what the leader had applied when it was asked
	// LeaderSince and Renewed are those of Input.
	LeaderSince time.Duration
	Renewed     func(shard.SessionID) (at time.Duration, number uint64)
	// DownFor is how long a member's session has been over as far as the log tells. Nil: nothing is known of it.
	DownFor func(shard.NodeID) time.Duration
}

// Electorate keeps the number of Raft's voters odd and each of them able to answer, as far as members allow.
//
// A voter that is gone for good gives way to a member: first the newcomer catches up without a vote, then the old one is
// dismissed, then the newcomer is promoted. So one voter changes at a time and the quorum never counts on a newcomer
// with an empty log. Dismissing comes before promoting because the voter that is gone adds nothing but weight: with it, a
// promotion would raise the quorum. A node that lost its directory has the address of the seat it replaces, and Raft
// wants addresses distinct, so there the old seat goes before the newcomer is added. Raft remembers nothing of a dismissed seat,
// and nobody counts its votes.
//
// A newcomer without a vote is kept no longer than it takes to catch up, because Raft counts its answers when a leader verifies
// that it leads.
//
// It holds what a leader saw and when. Another leader begins anew, but learns from the log since when a voter is down. It belongs to
// one goroutine.
type Electorate struct {
	Replace time.Duration // a voter whose session has been over for so long is gone for good
	CatchUp time.Duration // a newcomer that takes longer is dismissed, and not tried again for as long
	Grace   time.Duration // a voter whose last renewal is older may not answer; two renewals long, as that of Times

	down  map[Seat]time.Duration // voters seen without a session, since when
	added map[Seat]time.Duration // newcomers without a vote, since when
	slow  map[shard.DirectoryID]time.Duration
}

// NewElectorate returns the memory of a leader that begins.
func NewElectorate(replace, catchUp, grace time.Duration) *Electorate {
	return &Electorate{
		Replace: replace, CatchUp: catchUp, Grace: grace,
		down: map[Seat]time.Duration{}, added: map[Seat]time.Duration{}, slow: map[shard.DirectoryID]time.Duration{},
	}
}

// Next returns what is due: at most one change of the configuration, any number of calls, and a reason for waiting.
func (e *Electorate) Next(in VotersInput) []VoterStep {
	if in.View.Group == "" || len(in.Seats) == 0 {
		return nil
	}
	in.Seats = slices.SortedFunc(slices.Values(in.Seats), func(x, y Seat) int {
		return cmp.Or(cmp.Compare(x.Node, y.Node), cmp.Compare(x.Directory, y.Directory))
	})
	b := &ballot{VotersInput: in, e: e}
	e.observe(b)
	steps := b.calls()
	if change, due := b.change(); due {
		steps = append(steps, change)
	}
	return steps
}

// observe updates what is remembered.
func (e *Electorate) observe(b *ballot) {
	maps.DeleteFunc(e.down, func(s Seat, _ time.Duration) bool { return !slices.Contains(b.Seats, s) || b.up(s) })
	maps.DeleteFunc(e.added, func(s Seat, _ time.Duration) bool { return !slices.Contains(b.Seats, s) })
	maps.DeleteFunc(e.slow, func(_ shard.DirectoryID, since time.Duration) bool { return b.Now >= since+e.CatchUp })
	for _, s := range b.Seats {
		if _, known := e.down[s]; s.Voter && !known && !b.up(s) {
			e.down[s] = b.Now - b.downFor(s)
		}
		if _, known := e.added[s]; !s.Voter && !known {
			e.added[s] = b.Now
		}
	}
}

// ballot is one Next.
type ballot struct {
	VotersInput
	e *Electorate
}

func (b *ballot) downFor(s Seat) time.Duration {
	if _, held := b.holder(s); !held || b.DownFor == nil {
		return 0
	}
	return b.DownFor(s.Node)
}

// holder is the member that holds the seat; held is false when nobody does any more.
func (b *ballot) holder(s Seat) (m shard.Member, held bool) {
	m, known := b.View.Members[s.Node]
	return m, known && m.Directory == s.Directory
}

func (b *ballot) up(s Seat) bool {
	_, held := b.holder(s)
	return held && b.View.Up(s.Node)
}

// heard reports whether the seat's node answers, as far as the leader can know: it has renewed its session with this leader,
// lately. That it has a session is not enough, which outlives its node by a lease, and under a new leader by more.
func (b *ballot) heard(s Seat) bool {
	if s.Node == b.Leader || !b.up(s) {
		return b.up(s)
	}
	at, _ := b.Renewed(b.View.Members[s.Node].Session)
	return at >= b.LeaderSince && b.Now < at+b.e.Grace
}

func (b *ballot) voters() []Seat {
	return slices.DeleteFunc(slices.Clone(b.Seats), func(s Seat) bool { return !s.Voter })
}

// calls are the nodes that should be told that they have a seat, or have none any more.
func (b *ballot) calls() []VoterStep {
	var steps []VoterStep
	for _, s := range b.Seats {
		if m, _ := b.holder(s); b.up(s) && s.Node != b.Leader && (!m.Voter || !s.Voter && !b.CaughtUp(s)) {
			steps = append(steps, VoterStep{Action: AskToSit, Seat: s, Reason: RaftNotRunning})
		}
	}
	for _, id := range slices.Sorted(maps.Keys(b.View.Members)) {
		m := b.View.Members[id]
		if m.Voter && b.View.Up(id) && !b.seated(m) {
			steps = append(steps, VoterStep{Action: AskToLeave, Seat: seatOf(m), Reason: SeatTaken})
		}
	}
	return steps
}

func seatOf(m shard.Member) Seat { return Seat{Node: m.ID, Directory: m.Directory, Addr: m.Addr} }

func (b *ballot) seated(m shard.Member) bool {
	return slices.ContainsFunc(b.Seats, func(s Seat) bool { return s.Node == m.ID && s.Directory == m.Directory })
}

// change is the one change of the configuration that is due, or the reason why none is.
func (b *ballot) change() (step VoterStep, due bool) {
	for _, s := range b.Seats {
		if m, _ := b.holder(s); b.up(s) && m.Addr != s.Addr && !b.taken(m.Addr, Seat{}) {
			s.Addr = m.Addr
			return VoterStep{Action: Readdress, Seat: s, Reason: AddressChanged}, true
		}
	}
	gone, why := b.gone()
	vacant := len(b.voters())%2 == 0
	if i := slices.IndexFunc(b.Seats, func(s Seat) bool { return !s.Voter }); i >= 0 {
		return b.newcomer(b.Seats[i], gone, why), true
	}
	_, found := b.candidate(Seat{})
	switch {
	case vacant && !found && gone.Node != "":
		return b.dismiss(gone, why), true // that makes the number odd, and its address free
	case vacant:
		return b.add(Seat{}, SeatVacant), true
	case gone.Node != "":
		return b.add(gone, why), true
	}
	return VoterStep{}, false
}

// gone is the voter to replace next: one that a member could replace before one that has to wait for a member, then one that
// cannot come back before one that might.
func (b *ballot) gone() (gone Seat, why Reason) {
	able := false
	for _, s := range b.voters() {
		reason := b.fate(s)
		if reason == "" {
			continue
		}
		_, found := b.candidate(s)
		if why == "" || cmp.Or(first(found, able), first(reason != VoterDown, why != VoterDown)) < 0 {
			gone, why, able = s, reason, found
		}
	}
	return gone, why
}

// fate says why the voter should be replaced, "" when it should stay.
func (b *ballot) fate(s Seat) Reason {
	m, held := b.holder(s)
	since, down := b.e.down[s]
	switch {
	case s.Node == b.Leader && held:
		return ""
	case m.ID == "":
		return VoterRemoved
	case !held:
		return VoterWiped
	case down && b.Now >= since+b.e.Replace && !m.Maintenance:
		return VoterDown
	}
	return ""
}

// newcomer decides about a server without a vote.
func (b *ballot) newcomer(n, gone Seat, why Reason) VoterStep {
	m, _ := b.holder(n)
	vacant := len(b.voters())%2 == 0
	switch {
	case !b.up(n) || !fit(m):
		return VoterStep{Action: Dismiss, Seat: n, Reason: NewcomerGone}
	case !vacant && gone.Node == "":
		return VoterStep{Action: Dismiss, Seat: n, Reason: NotNeeded}
	case b.CaughtUp(n) && vacant:
		return VoterStep{Action: Promote, Seat: n, Reason: CaughtUp}
	case b.CaughtUp(n):
		return b.dismiss(gone, why)
	case b.Now >= b.e.added[n]+b.e.CatchUp:
		b.e.slow[n.Directory] = b.Now
		return VoterStep{Action: Dismiss, Seat: n, Reason: NewcomerSlow}
	default:
		return VoterStep{Action: LeaveAsIs, Seat: n, Reason: AwaitCatchUp, For: gone}
	}
}

// dismiss takes a voter out when the leader hears enough of the others to go on without it.
func (b *ballot) dismiss(gone Seat, why Reason) VoterStep {
	others, heard := 0, 0
	for _, s := range b.voters() {
		if s == gone {
			continue
		}
		others++
		if b.heard(s) {
			heard++
		}
	}
	if heard < others/2+1 {
		return VoterStep{Action: LeaveAsIs, Seat: gone, Reason: BelowQuorum}
	}
	return VoterStep{Action: Dismiss, Seat: gone, Reason: why}
}

// add begins to fill the seat of the voter that is gone, or a vacant one.
func (b *ballot) add(gone Seat, why Reason) VoterStep {
	candidate, found := b.candidate(gone)
	switch {
	case !found:
		return VoterStep{Action: LeaveAsIs, Seat: gone, Reason: AwaitCandidate}
	case candidate.Addr == gone.Addr:
		return b.dismiss(gone, why)
	default:
		return VoterStep{Action: AddNewcomer, Seat: candidate, Reason: why, For: gone}
	}
}

// candidate is the member for a seat: the same node with its new directory, else one from where the fewest voters are.
func (b *ballot) candidate(gone Seat) (best Seat, found bool) {
	zones := map[string]int{}
	for _, s := range b.voters() {
		if m, held := b.holder(s); held && s != gone {
			zones[m.Zone]++
		}
	}
	rank := func(m shard.Member) int {
		if m.ID == gone.Node {
			return -1
		}
		return zones[m.Zone]
	}
	lowest := 0
	for _, id := range slices.Sorted(maps.Keys(b.View.Members)) {
		m := b.View.Members[id]
		_, slow := b.e.slow[m.Directory]
		if slow || !b.View.Up(id) || !fit(m) || b.seated(m) || b.taken(m.Addr, gone) {
			continue
		}
		if r := rank(m); !found || r < lowest {
			best, lowest, found = seatOf(m), r, true
		}
	}
	return best, found
}

// fit reports whether the member is to stay.
func fit(m shard.Member) bool { return m.Open() && !m.Maintenance }

// taken reports whether a seat other than that one has the address.
func (b *ballot) taken(addr string, but Seat) bool {
	return slices.ContainsFunc(b.Seats, func(s Seat) bool { return s.Addr == addr && s != but })
}
