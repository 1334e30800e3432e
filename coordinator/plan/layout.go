package plan

import (
	"cmp"
	"maps"
	"slices"

	"muster/fsm"
	"muster/shard"
)

// A layout is a view counted for planning moves: nodes by number, and for every shard where its copies will be when all that
// is under way has come about. Planning a move changes the layout at once, so that the next one is planned on top of it.
//
// Rejected: maps by node and shard all through. At 100,000 shards on 1,000 nodes they cost more than the planning.
type layout struct {
	view   *shard.View
	sites  []site // by node id
	index  map[shard.NodeID]int32
	tables []*table // by type

	moves    []Move
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
	zone   int32
	up     bool
	gone   bool  // down, and given up
	copies int32 // of all types
}

// closing reports whether the site is to lead nothing.
func (s *site) closing() bool { return s.member.Draining || s.member.Leaving }

// table is the layout of one type.
type table struct {
	*layout
	spec  shard.Spec
	rows  []row
	host  []bool  // by site: it may take copies and primaries
	hosts []int32 // those that may
	zones int     // among the hosts

	copies, leads []int32 // by site

	ailing  []int32 // rows that miss a copy
	closing []int32 // rows with a copy or the primary on a site that is closing
	pinned  []int32
	passing []int32 // rows whose only copy has its successor in C, and leads still
	crowded []int32 // rows with two copies in a zone
}

// row is where one shard is, or will be.
type row struct {
	p      *shard.Placement
	homes  []home
	lead   int32 // the site that leads, or is wished to; nowhere when there is none
	passed int   // the number of the planned hand-over, counted from 1; 0 for none
	plain  bool  // homes are the members of C, and nothing was planned for it
}

// home is a site with a copy that lasts.
type home struct {
	site  int32
	copy  shard.CopyID // 0: planned
	ready bool         // a ready member of C: it can leave, and it can lead
}

// survey counts a view. abandoned tells of a member that is down whether it is given up.
func survey(v *shard.View, abandoned func(shard.Member) bool) *layout {
	l := &layout{view: v, index: make(map[shard.NodeID]int32, len(v.Members))}
	zones := map[string]int32{}
	for _, id := range slices.Sorted(maps.Keys(v.Members)) {
		m := v.Members[id]
		if _, known := zones[m.Zone]; !known {
			zones[m.Zone] = int32(len(zones))
		}
		up := v.Up(id)
		l.index[id] = int32(len(l.sites))
		l.sites = append(l.sites, site{member: m, zone: zones[m.Zone], up: up, gone: !up && abandoned(m)})
	}
	for _, name := range slices.Sorted(maps.Keys(v.Types)) {
		l.tables = append(l.tables, l.tabulate(v.Types[name]))
	}
	for i := range l.sites {
		if s := &l.sites[i]; !s.up && !s.gone && s.copies > 0 {
			l.note(Note{Reason: AwaitReturn, Node: s.member.ID})
		}
	}
	return l
}

func (l *layout) tabulate(v *shard.TypeView) *table {
	n := len(l.sites)
	t := &table{layout: l, spec: v.Spec, host: make([]bool, n), copies: make([]int32, n), leads: make([]int32, n)}
	zones := map[int32]bool{}
	for i := range l.sites {
		s := &l.sites[i]
		if s.up && s.member.Open() && fsm.Eligible(s.member, v.Spec) {
			t.host[i] = true
			t.hosts = append(t.hosts, int32(i))
			zones[s.zone] = true
		}
	}
	t.zones = len(zones)
	t.rows = make([]row, 0, len(v.Placements))
	homes := make([]home, 0, len(v.Placements)*(v.Spec.Replicas+1))
	for _, p := range v.Placements {
		if p == nil {
			continue
		}
		start := len(homes)
		homes = t.house(homes, p)
		t.rows = append(t.rows, row{p: p, homes: homes[start:len(homes):len(homes)], lead: t.leader(p), plain: len(homes)-start == len(p.Copies) && len(p.Learners) == 0})
		t.count(int32(len(t.rows) - 1))
	}
	return t
}

// house appends the homes of a shard: the copies that neither are lost nor given up nor about to be replaced, and learners.
func (t *table) house(homes []home, p *shard.Placement) []home {
	for i := range p.Copies {
		c := &p.Copies[i]
		s := t.find(c.Node)
		if c.State == shard.CopyLost || s == nowhere || t.sites[s].gone || replaced(p, c.ID) || c.ID == p.Retiring {
			continue
		}
		homes = append(homes, home{s, c.ID, c.State == shard.CopyReady})
	}
	for _, l := range p.Learners {
		from := shard.NodeID("")
		if c, member := p.Copy(l.Replaces); member {
			from = c.Node
		}
		t.underway = append(t.underway, Move{p.Shard, CopyMove, from, l.Copy.Node, l.Replaces, Underway})
		if s := t.find(l.Copy.Node); s != nowhere && !t.sites[s].gone {
			homes = append(homes, home{s, l.Copy.ID, false})
		}
	}
	return homes
}

func replaced(p *shard.Placement, id shard.CopyID) bool {
	return len(p.Learners) > 0 && slices.ContainsFunc(p.Learners, func(l shard.Learner) bool { return l.Replaces == id })
}

// leader is the site that leads the shard, or will: of one that is recovering, where it was if it can be there again.
func (t *table) leader(p *shard.Placement) int32 {
	node := p.Node
	switch {
	case p.Wished():
		node = p.HandNode
		t.underway = append(t.underway, Move{p.Shard, LeadMove, p.Node, node, p.HandTo, Underway})
	case t.alone() && len(p.Learners) == 1 && p.Primary != 0 && p.Learners[0].Replaces == p.Primary:
		node = p.Learners[0].Copy.Node // the lead follows the only copy
	case p.Status == shard.Forming:
		node = p.Copies[0].Node
	case p.Status == shard.Recovering:
		node = p.ActiveNode
	}
	if node == "" {
		return nowhere
	}
	return t.find(node)
}

// alone reports whether the type's shards have one copy each. It moves by getting a successor in C, to which it hands over.
func (t *table) alone() bool { return t.spec.Replicas == 0 && !t.spec.Volatile }

func (l *layout) find(node shard.NodeID) int32 {
	if s, known := l.index[node]; known {
		return s
	}
	return nowhere
}

// count adds a row to the sums, and to the lists of those that want something.
func (t *table) count(i int32) {
	r := &t.rows[i]
	closing := false
	for k, h := range r.homes {
		t.copies[h.site]++
		t.sites[h.site].copies++
		closing = closing || t.sites[h.site].member.Draining
		if t.zones > 1 && t.sharing(r, h.site, nowhere) > 1 && (k == 0 || t.crowded == nil || t.crowded[len(t.crowded)-1] != i) {
			t.crowded = append(t.crowded, i)
		}
	}
	if r.lead != nowhere {
		t.leads[r.lead]++
		closing = closing || t.sites[r.lead].closing()
	}
	if r.p.Status != shard.Active {
		return // a copy is filled and let go by a primary
	}
	if r.p.Retiring != 0 && r.p.Retiring == r.p.Primary && !r.p.Wished() {
		t.passing = append(t.passing, i)
	}
	if !t.spec.Volatile && len(r.homes) <= t.spec.Replicas {
		t.ailing = append(t.ailing, i)
	}
	if closing {
		t.closing = append(t.closing, i)
	}
	if r.p.Pinned != "" {
		t.pinned = append(t.pinned, i)
	}
}

// at returns the home on the site, nil when there is none.
func (r *row) at(s int32) *home {
	for k := range r.homes {
		if r.homes[k].site == s {
			return &r.homes[k]
		}
	}
	return nil
}

// taken reports whether the site has a copy of the row, be it one that is to leave.
func (t *table) taken(r *row, s int32) bool {
	if r.at(s) != nil || r.plain {
		return r.at(s) != nil
	}
	return slices.ContainsFunc(r.p.Copies, func(c shard.Copy) bool {
		return c.State != shard.CopyLost && c.Node == t.sites[s].member.ID
	})
}

// sharing is how many homes are in the zone of the site, the one on except left out.
func (t *table) sharing(r *row, s, except int32) (n int) {
	for _, h := range r.homes {
		if h.site != except && t.sites[h.site].zone == t.sites[s].zone {
			n++
		}
	}
	return n
}

// room returns the best host for a further copy of the row while the one on except leaves, nowhere when there is none: zones
// are spread first, then the load of the type, then of all types.
func (t *table) room(r *row, except int32) int32 {
	best, sharing := nowhere, 0
	for _, s := range t.hosts {
		if t.taken(r, s) {
			continue
		}
		n := t.sharing(r, s, except)
		if best == nowhere || cmp.Or(cmp.Compare(n, sharing), cmp.Compare(t.copies[s], t.copies[best]),
			cmp.Compare(t.sites[s].copies, t.sites[best].copies)) < 0 {
			best, sharing = s, n
		}
	}
	return best
}

// copyTo plans that the row gets a copy on the site to. The home on from leaves, none when that is nowhere.
func (t *table) copyTo(r *row, from, to int32, m Move) {
	if h := r.at(from); h != nil {
		t.copies[from]--
		t.sites[from].copies--
		*h = home{site: to}
	} else {
		r.homes = append(r.homes, home{site: to})
	}
	r.plain = false
	t.copies[to]++
	t.sites[to].copies++
	m.Shard, m.Kind, m.To = r.p.Shard, CopyMove, t.sites[to].member.ID
	t.moves = append(t.moves, m)
}

// relocate plans that the copy on one site moves to another.
func (t *table) relocate(r *row, from, to int32, why Reason) {
	t.copyTo(r, from, to, Move{From: t.sites[from].member.ID, Copy: r.at(from).copy, Reason: why})
}

// carry plans that the only copy of the row moves, and the lead with it.
func (t *table) carry(r *row, to int32, why Reason) {
	t.relocate(r, r.homes[0].site, to, why)
	t.handTo(r, to, why)
}

// handTo plans that the row is led by the site. If it was to be handed to another, that is changed: it moves once or not at
// all.
func (t *table) handTo(r *row, to int32, why Reason) {
	m := Move{Shard: r.p.Shard, Kind: LeadMove, From: t.sites[r.lead].member.ID, To: t.sites[to].member.ID, Reason: why}
	if h := r.at(to); h != nil && h.ready {
		m.Copy = h.copy
	}
	t.leads[r.lead]--
	t.leads[to]++
	r.lead = to
	if r.passed == 0 {
		t.moves = append(t.moves, m)
		r.passed = len(t.moves)
		return
	}
	m.From = t.moves[r.passed-1].From
	t.moves[r.passed-1] = m
}

func (l *layout) note(n Note) {
	if len(l.notes) < maxNotes {
		l.notes = append(l.notes, n)
	}
}
