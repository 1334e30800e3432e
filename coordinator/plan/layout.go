package plan

import (
	"maps"
	"slices"

	"github.com/cespare/xxhash/v2"

	"muster/fsm"
	"muster/shard"
)

// A layout is a view counted for planning moves: nodes and shards by number, and for every shard where its copies will be when all
// that is under way has come about. Planning a move changes the layout at once, so that the next one is planned on top of it; when
// the plan is made the layout is put back.
//
// It is kept from plan to plan and follows the view: a shard whose placement is the same value as before is not looked at again.
// What it comes to depends on the newest view alone. It belongs to one goroutine.
//
// Rejected: maps by node and shard all through. At 100,000 shards on 1,000 nodes they cost more than the planning. Counting
// anew for each plan costs as much as half of a large one, and all of a small one.
type layout struct {
	view   *shard.View
	sites  []site // by node id
	index  map[shard.NodeID]int32
	zone   []int32  // by site
	hash   []uint64 // of its name
	total  []int32  // copies of all types, by site
	tables []*table // by type
	loads  Loads

	shunned func(shard.NodeID) bool // nodes that get nothing while others could take it; nil: none

	planned  []planned
	notes    []Note // why something that should move cannot
	underway []Move // learners and wishes that the view shows
}

// nowhere is the number of no site.
const nowhere = int32(-1)

// maxNotes bounds the notes of one plan: who has a thousand shards that cannot move learns enough from the first few.
const maxNotes = 32

// site is a node.
type site struct {
	member shard.Member
	up     bool
	gone   bool // down, and given up
}

// closing reports whether the site is to lead nothing.
func (s *site) closing() bool { return s.member.Draining || s.member.Leaving }

// stays reports whether a copy may stay on the site for good: the node is there or is awaited, and not to be emptied.
func (s *site) stays() bool { return !s.gone && !s.member.Draining }

// survey counts a view. abandoned tells of a member that is down whether it is given up.
func survey(v *shard.View, abandoned func(shard.Member) bool) *layout {
	l := &layout{}
	l.follow(v, abandoned)
	return l
}

// follow brings the layout to a newer view, or to any other.
func (l *layout) follow(v *shard.View, abandoned func(shard.Member) bool) {
	old := l.sites
	l.view = v
	l.number(abandoned)
	renamed, alike := l.renumbered(old)
	if !alike {
		l.tables = nil // somebody left for good, or came back after all
	}
	tables := make([]*table, 0, len(v.Types))
	for _, name := range slices.Sorted(maps.Keys(v.Types)) {
		i := slices.IndexFunc(l.tables, func(t *table) bool { return t.spec == v.Types[name].Spec })
		if i < 0 || renamed != nil && l.tables[i].strangers > 0 {
			tables = append(tables, l.tabulate(v.Types[name]))
			continue
		}
		t := l.tables[i]
		if renamed != nil {
			t.renumber(renamed)
		}
		t.follow(v.Types[name])
		tables = append(tables, t)
	}
	l.tables = tables
	l.revisit(old)
	l.total = make([]int32, len(l.sites))
	for n, t := range l.tables {
		t.ordinal = uint16(n)
		for s, k := range t.copies {
			l.total[s] += k
		}
	}
}

// number counts the sites and the zones.
func (l *layout) number(abandoned func(shard.Member) bool) {
	ids := slices.Sorted(maps.Keys(l.view.Members))
	l.index = make(map[shard.NodeID]int32, len(ids))
	l.sites, l.zone, l.hash = make([]site, len(ids)), make([]int32, len(ids)), make([]uint64, len(ids))
	zones := map[string]int32{}
	for i, id := range ids {
		m := l.view.Members[id]
		if _, known := zones[m.Zone]; !known {
			zones[m.Zone] = int32(len(zones))
		}
		up := l.view.Up(id)
		l.index[id], l.zone[i], l.hash[i] = int32(i), zones[m.Zone], xxhash.Sum64String(string(id))
		l.sites[i] = site{member: m, up: up, gone: !up && abandoned(m)}
	}
}

// renumbered tells the new number of each old site, nil when they are as they were. They are not alike when a site is no more, or
// is not given up any more: then every shard has to be looked at.
func (l *layout) renumbered(old []site) (to []int32, alike bool) {
	to, same := make([]int32, len(old)), len(old) == len(l.sites)
	for i := range old {
		s := l.find(old[i].member.ID)
		if s == nowhere || old[i].gone && !l.sites[s].gone {
			return nil, false
		}
		to[i], same = s, same && int(s) == i
	}
	if same {
		return nil, true
	}
	return to, true
}

// revisit looks anew at the shards that have something on a site that was given up since, and when a site is in another zone, at
// which shards have copies that share one.
func (l *layout) revisit(old []site) {
	lost, any, moved := make([]bool, len(l.sites)), false, false
	for i := range old {
		now := l.find(old[i].member.ID)
		if now == nowhere {
			continue
		}
		lost[now] = l.sites[now].gone && !old[i].gone
		any, moved = any || lost[now], moved || old[i].member.Zone != l.sites[now].member.Zone
	}
	for _, t := range l.tables {
		for i := range t.n {
			if any && slices.ContainsFunc(t.of(int32(i)), func(h home) bool { return lost[h.site] }) {
				t.again(int32(i))
			}
			if moved {
				t.crowd(int32(i))
			}
		}
	}
}

func (l *layout) find(node shard.NodeID) int32 {
	if s, known := l.index[node]; known {
		return s
	}
	return nowhere
}

func (l *layout) note(n Note) {
	if len(l.notes) < maxNotes {
		l.notes = append(l.notes, n)
	}
}

// begin readies the layout for a plan.
func (l *layout) begin() {
	l.notes, l.underway = nil, nil
	for i := range l.sites {
		if s := &l.sites[i]; !s.up && !s.gone && l.total[i] > 0 {
			l.note(Note{Reason: AwaitReturn, Node: s.member.ID})
		}
	}
	closing := slices.ContainsFunc(l.sites, func(s site) bool { return s.closing() })
	for _, t := range l.tables {
		t.weights = weigh(l.loads[t.spec.Name])
		t.admit()
		t.attend(closing)
	}
}

// admit finds the sites that may take copies and primaries of the type.
func (t *table) admit() {
	t.host, t.hosts = make([]bool, len(t.sites)), t.hosts[:0]
	zones := map[int32]bool{}
	for i := range t.sites {
		s := &t.sites[i]
		if !t.mayHost(s) {
			continue
		}
		if t.shunned == nil || !t.shunned(s.member.ID) {
			t.host[i] = true
			t.hosts = append(t.hosts, int32(i))
			zones[t.zone[i]] = true
		}
	}
	t.zones = len(zones)
}

// mayHost reports whether the group would let the site take a copy or a primary of the type.
func (t *table) mayHost(s *site) bool {
	return s.up && s.member.Open() && fsm.Eligible(s.member, t.spec)
}

// room returns the best site for a further copy of the row while the one on except leaves: one that is shunned when no host can take
// it, nowhere when there is none.
func (t *table) room(i, except int32) int32 {
	if to := t.tactics.room(t, i, except); to != nowhere {
		return to
	}
	for s := range t.sites {
		if !t.host[s] && t.mayHost(&t.sites[s]) && !t.taken(i, int32(s)) {
			return int32(s)
		}
	}
	return nowhere
}
