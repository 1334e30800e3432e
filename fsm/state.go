// Package fsm is the replicated state of a group: its members and their sessions, the entity types, where every shard is,
// the barriers and the quorum gate. Every voter applies the same Raft entries in the same order and holds the same bytes.
//
// Apply is a function from a state and an entry to the next state. It reads no clock and draws no dice: what needs them (a
// lease that ran out) is decided by the leader and comes as a command, which is checked again against the state it meets.
// A command that no longer fits gets a typed fault as its verdict and changes nothing, so a stale plan is harmless.
//
// The map of the group is a shard.View, and an entry changes it only by a shard.Delta that View.With applies. Nodes that
// follow the group apply the same Deltas by the same code, so their maps cannot differ from this one.
package fsm

import (
	"cmp"
	"maps"
	"slices"
	"time"

	"muster/barrier"
	"muster/shard"
)

// Limits of the state. A command that would pass one is refused with CodeOverloaded.
const (
	MaxMembers = 10_000  // nodes ever registered
	MaxTypes   = 1_024   // entity types
	MaxShards  = 262_144 // shards of all types together
)

// A State is the group after one entry. It is immutable: Apply returns the next one, sharing what did not change, so
// readers on other goroutines hold one as long as they like.
//
// Invariants: every serving placement names a live session; copy ids are unique and at most lastCopy; there is one life
// for each member that ever registered, of its newest session; the history of each shard ends with what it is. See Check.
type State struct {
	View     *shard.View    // the group's map
	Barriers *barrier.Table // who waits where

	founders []Founder    // what Genesis said
	lives    []life       // by session
	lastCopy shard.CopyID // the newest copy id handed out
	removed  []removal    // the directories that may not come back, oldest first
	time     int64        // Unix milliseconds of the newest leader's clock in the log
	version  byte         // see RaiseVersion
	gone     []tenure     // by session

	pasts map[shard.TypeName][]*past // by shard number; nil where nothing was placed
}

// life is what the state keeps of a member's newest session beside the map. Renewals live here because they change all the
// time and no follower needs them. A life stays when its session ends, until the member's next one.
type life struct {
	Session   shard.SessionID `cbor:"1,keyasint"`
	Node      shard.NodeID    `cbor:"2,keyasint"`
	Nonce     string          `cbor:"3,keyasint"`           // names the process that opened the session
	Renewal   uint64          `cbor:"4,keyasint,omitempty"` // the newest renewal's number; 0 before the first
	Confirmed shard.SessionID `cbor:"5,keyasint,omitempty"` // the newest session its directory is known to have stored
	Ended     int64           `cbor:"6,keyasint,omitempty"` // when the session ended, Unix milliseconds of the leader's clock; 0 while it is live
	Succeeded shard.SessionID `cbor:"7,keyasint,omitempty"` // the newest session of its directory whose process is gone: a later one held its lock
	Lengths   Lengths         `cbor:"8,keyasint,omitzero"`  // what it acts on; unset until it has said
}

// New returns the state before the first entry.
func New() *State {
	return &State{View: shard.NewView(), Barriers: barrier.NewTable()}
}

// Index is the newest entry the state includes.
func (s *State) Index() shard.Index { return s.View.Index }

// Founders returns the voters the group was formed with; empty before Genesis. Read-only.
func (s *State) Founders() []Founder { return s.founders }

// Renewal returns the number of a live session's newest renewal, 0 before its first; ok is false for a session that is not
// live.
func (s *State) Renewal(id shard.SessionID) (number uint64, ok bool) {
	if _, live := s.View.Sessions[id]; !live {
		return 0, false
	}
	if i, found := findLife(s.lives, id); found {
		return s.lives[i].Renewal, true
	}
	return 0, false
}

// DownFor is how long a member's newest session has been over, by the clocks of leaders as far as the log tells them; 0 while it
// is live. So a leader that is new knows as much of it as the one before.
func (s *State) DownFor(node shard.NodeID) time.Duration {
	m := s.View.Members[node]
	i, found := findLife(s.lives, m.Session)
	if !found || s.View.Up(node) || s.lives[i].Ended == 0 {
		return 0
	}
	return max(0, time.Duration(s.time-s.lives[i].Ended)*time.Millisecond)
}

// Succeeded reports whether the process of a session is gone for certain: a later process of the member held the lock of the
// same directory on the same machine. That a session has ended does not prove it, and neither does a later session from
// another machine: the directory may have been copied, and the process it was copied from may run on behind a partition.
func (s *State) Succeeded(node shard.NodeID, id shard.SessionID) bool {
	i, found := findLife(s.lives, s.View.Members[node].Session)
	return found && id != 0 && id <= s.lives[i].Succeeded
}

func findLife(lives []life, id shard.SessionID) (int, bool) {
	return slices.BinarySearchFunc(lives, id, func(l life, id shard.SessionID) int { return cmp.Compare(l.Session, id) })
}

// Eligible reports whether the member may own shards of the type: it declares the type and has its role. Whether the member
// is up is another question.
func Eligible(m shard.Member, spec shard.Spec) bool {
	_, hosts := slices.BinarySearch(m.Hosts, spec.Name)
	return hosts && (spec.Role == "" || slices.Contains(m.Roles, spec.Role))
}

// Gate is the required quorum: how many distinct members must be up, and whether they are.
type Gate struct {
	Required int
	Have     int
	Met      bool
	Missing  []shard.NodeID // the known members that are not up, by name
}

// Gate returns how the quorum gate stands.
func (s *State) Gate() Gate {
	g := Gate{Required: s.View.Required}
	for _, id := range slices.Sorted(maps.Keys(s.View.Members)) {
		if s.View.Up(id) {
			g.Have++
		} else {
			g.Missing = append(g.Missing, id)
		}
	}
	g.Met = g.Have >= g.Required
	return g
}
