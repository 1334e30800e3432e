package plan

import (
	"cmp"
	"slices"

	"github.com/cespare/xxhash/v2"

	"muster/shard"
)

// table is the layout of one type. Its rows are the shards by number; what is kept of a row lies in flat lists, a fixed number of
// homes for each.
//
//lint:fields flat lists beside each other, which is the point of it
type table struct {
	*layout
	spec    shard.Spec
	tactics strategy
	view    *shard.TypeView
	ordinal uint16 // among the tables
	wide    int    // homes of a row
	alone   bool   // one copy each: it moves by getting a successor in C, to which it hands over

	homes  []home // wide for each row, of which the first n are used
	n      []uint8
	lead   []int32 // the site that leads, or is wished to; nowhere when there is none
	state  []rowState
	passed []int32 // the number of the planned hand-over, counted from 1; 0 for none

	copies, leads []int32 // by site
	strangers     int     // copies on nodes that are no members
	holds         holdings
	weights       weights
	seed          uint64    // of the type's name
	belong        belonging // of a rendezvous type

	host  []bool  // by site: it may take copies and primaries
	hosts []int32 // those that may
	zones int     // among the hosts

	ailing  []int32 // rows that miss a copy
	closing []int32 // rows with a copy or the primary on a site that is closing
	pinned  []int32
	passing []int32 // rows whose only copy has its successor in C, and leads still
	crowded []int32 // rows with two copies in a zone
}

// home is a site with a copy that lasts.
type home struct {
	site  int32
	was   int32 // planned: the site of the copy that it takes the place of; nowhere when there is none
	ready bool  // a ready member of C: it can leave, and it can lead
}

// rowState is what is worth knowing of a row without a look at its placement.
type rowState uint8

const (
	active rowState = 1 << iota
	short           // homes are fewer than the type wants
	hasPin          // an operator wants its primary somewhere
	passes          // see table.passing
	crowds          // two homes in a zone
	moves           // a learner or a wish is under way
	odd             // a node may have a copy without being a home
)

func (l *layout) tabulate(v *shard.TypeView) *table {
	rows, sites := len(v.Placements), len(l.sites)
	t := &table{
		layout: l, spec: v.Spec, tactics: tacticsOf(v.Spec), wide: v.Spec.Replicas + 1, alone: v.Spec.Replicas == 0 && !v.Spec.Volatile,
		n: make([]uint8, rows), lead: make([]int32, rows), state: make([]rowState, rows), passed: make([]int32, rows),
		copies: make([]int32, sites), leads: make([]int32, sites),
		view: &shard.TypeView{Spec: v.Spec, Placements: make([]*shard.Placement, rows)}, seed: xxhash.Sum64String(string(v.Spec.Name)),
	}
	t.homes = make([]home, rows*t.wide)
	for i := range t.lead {
		t.lead[i] = nowhere
	}
	t.follow(v)
	return t
}

// follow looks at the shards whose placement has changed.
func (t *table) follow(v *shard.TypeView) {
	old := t.view.Placements
	t.view = v
	for i, p := range v.Placements {
		if p != old[i] {
			t.again(int32(i))
		}
	}
}

// again counts a row anew.
func (t *table) again(i int32) {
	for _, h := range t.of(i) {
		t.copies[h.site]--
	}
	if t.lead[i] != nowhere {
		t.leads[t.lead[i]]--
	}
	t.n[i], t.lead[i], t.state[i] = 0, nowhere, 0
	t.holds.made = false
	p := t.view.Placements[i]
	if p == nil {
		return
	}
	t.house(i, p)
	t.lead[i] = t.leader(i, p)
	for _, h := range t.of(i) {
		t.copies[h.site]++
	}
	if t.lead[i] != nowhere {
		t.leads[t.lead[i]]++
	}
	t.judge(i, p)
}

// house notes the homes of a shard: the copies that neither are lost nor given up nor about to be replaced, and learners.
func (t *table) house(i int32, p *shard.Placement) {
	for k := range p.Copies {
		c := &p.Copies[k]
		s := t.find(c.Node)
		if s == nowhere {
			t.strangers++
		}
		if c.State == shard.CopyLost {
			continue
		}
		if s == nowhere || t.sites[s].gone || isReplaced(p, c.ID) || c.ID == p.Retiring {
			t.state[i] |= odd
			continue
		}
		t.settle(i, home{s, nowhere, c.State == shard.CopyReady && p.Retiring == 0}) // on its way already: nothing else is planned for it
	}
	for _, l := range p.Learners {
		if s := t.find(l.Copy.Node); s != nowhere && !t.sites[s].gone {
			t.settle(i, home{s, nowhere, false})
		}
	}
}

// settle adds a home. There are never more than the type wants: neither C nor learners may be.
func (t *table) settle(i int32, h home) {
	if int(t.n[i]) < t.wide {
		t.homes[int(i)*t.wide+int(t.n[i])] = h
		t.n[i]++
	}
}

func isReplaced(p *shard.Placement, id shard.CopyID) bool {
	return len(p.Learners) > 0 && slices.ContainsFunc(p.Learners, func(l shard.Learner) bool { return l.Replaces == id })
}

// leader is the site that leads the shard, or will: of one that is recovering, where it was if it can be there again.
//
// One whose elected copies do not come to serve is led nowhere: it may be tried here and there for as long as copies are away,
// and what is evenly led must not follow it about.
func (t *table) leader(i int32, p *shard.Placement) int32 {
	node := p.Node
	switch {
	case p.Stalled != 0 && p.Status != shard.Active:
		return nowhere
	case p.Wished():
		node = p.HandNode
	case t.alone && len(p.Learners) == 1 && p.Primary != 0 && p.Learners[0].Replaces == p.Primary:
		node = p.Learners[0].Copy.Node // the lead follows the only copy
	case p.Status == shard.Forming:
		node = p.Copies[0].Node
	case p.Status == shard.Recovering:
		node = p.ActiveNode
	}
	if node == "" {
		return nowhere
	}
	for _, h := range t.of(i) { // cheaper than the index
		if t.sites[h.site].member.ID == node {
			return h.site
		}
	}
	return t.find(node)
}

// judge notes what is worth knowing of a row.
func (t *table) judge(i int32, p *shard.Placement) {
	if len(p.Learners) > 0 || p.Wished() {
		t.state[i] |= moves
	}
	t.crowd(i)
	if p.Status != shard.Active {
		return // a copy is filled and let go by a primary
	}
	t.state[i] |= active
	if !t.spec.Volatile && int(t.n[i]) < t.wide {
		t.state[i] |= short
	}
	if p.Pinned != "" {
		t.state[i] |= hasPin
	}
	if p.Retiring != 0 && p.Retiring == p.Primary && !p.Wished() {
		t.state[i] |= passes
	}
}

func (t *table) crowd(i int32) {
	t.state[i] &^= crowds
	for _, h := range t.of(i) {
		if t.sharing(i, h.site, nowhere) > 1 {
			t.state[i] |= crowds
			return
		}
	}
}

// renumber follows new numbers of the sites.
func (t *table) renumber(to []int32) {
	copies, leads := make([]int32, len(t.sites)), make([]int32, len(t.sites))
	for s, now := range to {
		copies[now], leads[now] = t.copies[s], t.leads[s]
	}
	t.copies, t.leads, t.holds.made, t.belong = copies, leads, false, belonging{}
	for i := range t.n {
		homes := t.of(int32(i))
		for k := range homes {
			homes[k].site = to[homes[k].site]
		}
		if t.lead[i] != nowhere {
			t.lead[i] = to[t.lead[i]]
		}
	}
}

// attend lists the rows that want something.
func (t *table) attend(closing bool) {
	t.ailing, t.closing, t.pinned = t.ailing[:0], t.closing[:0], t.pinned[:0]
	t.passing, t.crowded = t.passing[:0], t.crowded[:0]
	for i, s := range t.state {
		if s&moves != 0 {
			t.goOn(t.view.Placements[i])
		}
		if s&crowds != 0 && t.zones > 1 {
			t.crowded = append(t.crowded, int32(i))
		}
		if s&active == 0 || s&^(crowds|odd|moves) == active && !closing {
			continue
		}
		for _, list := range []struct {
			bit rowState
			of  *[]int32
		}{{short, &t.ailing}, {hasPin, &t.pinned}, {passes, &t.passing}} {
			if s&list.bit != 0 {
				*list.of = append(*list.of, int32(i))
			}
		}
		if closing && t.closes(int32(i)) {
			t.closing = append(t.closing, int32(i))
		}
	}
}

// goOn notes what is under way.
func (t *table) goOn(p *shard.Placement) {
	for _, l := range p.Learners {
		from, _ := p.Copy(l.Replaces)
		t.underway = append(t.underway, Move{p.Shard, CopyMove, from.Node, l.Copy.Node, l.Replaces, Underway})
	}
	if p.Wished() {
		t.underway = append(t.underway, Move{p.Shard, LeadMove, p.Node, p.HandNode, p.HandTo, Underway})
	}
}

func (t *table) closes(i int32) bool {
	for _, h := range t.of(i) {
		if t.sites[h.site].member.Draining {
			return true
		}
	}
	return t.lead[i] != nowhere && t.sites[t.lead[i]].closing()
}

// of returns the homes of a row.
func (t *table) of(i int32) []home {
	start := int(i) * t.wide
	return t.homes[start : start+int(t.n[i])]
}

func (t *table) placement(i int32) *shard.Placement { return t.view.Placements[i] }

// at returns the home on the site, nil when there is none.
func (t *table) at(i, s int32) *home {
	homes := t.of(i)
	for k := range homes {
		if homes[k].site == s {
			return &homes[k]
		}
	}
	return nil
}

// taken reports whether the site has a copy of the row, be it one that is to leave.
func (t *table) taken(i, s int32) bool {
	for _, h := range t.of(i) {
		if h.site == s || h.was == s {
			return true
		}
	}
	return t.state[i]&odd != 0 && slices.ContainsFunc(t.placement(i).Copies, func(c shard.Copy) bool {
		return c.State != shard.CopyLost && c.Node == t.sites[s].member.ID
	})
}

// touched reports whether the plan has moved a copy of the row.
func (t *table) touched(i int32) bool {
	return slices.ContainsFunc(t.of(i), func(h home) bool { return h.was != nowhere })
}

// sharing is how many homes are in the zone of the site, the one on except left out.
func (t *table) sharing(i, s, except int32) (n int) {
	for _, h := range t.of(i) {
		if h.site != except && t.zone[h.site] == t.zone[s] {
			n++
		}
	}
	return n
}

// roomiest returns the best host for a further copy of the row while the one on except leaves, nowhere when there is none: zones
// are spread first, then the load of the type, then of all types.
func (t *table) roomiest(i, except int32) int32 {
	best, sharing := nowhere, 0
	for _, s := range t.hosts {
		n := t.sharing(i, s, except)
		if best != nowhere && cmp.Or(cmp.Compare(n, sharing), cmp.Compare(t.copies[s], t.copies[best]), cmp.Compare(t.total[s], t.total[best])) >= 0 {
			continue
		}
		if !t.taken(i, s) {
			best, sharing = s, n
		}
	}
	return best
}

// holdings are the rows with a home on each site, in order. They are listed when first needed and kept while no row changes;
// more are those that the present plan brought there.
type holdings struct {
	made  bool
	start []int32 // by site, and the end
	rows  []int32
	more  [][]int32 // by site
	amid  bool      // made when copies were planned already: it shows what the view does not
}

// list makes the holdings.
func (t *table) list() {
	if t.holds.made {
		return
	}
	h := &t.holds
	h.amid = slices.ContainsFunc(t.planned, func(m planned) bool { return m.table == t.ordinal && !m.lead })
	h.made, h.start = true, make([]int32, len(t.sites)+1)
	for s, n := range t.copies {
		h.start[s+1] = h.start[s] + n
	}
	h.rows = slices.Grow(h.rows[:0], int(h.start[len(t.sites)]))[:h.start[len(t.sites)]]
	next := slices.Clone(h.start)
	for i := range t.n {
		for _, home := range t.of(int32(i)) {
			h.rows[next[home.site]] = int32(i)
			next[home.site]++
		}
	}
}

// held returns the rows that had a home on the site when the plan began, and those that it brought there.
func (h *holdings) held(s int32) (rows, more []int32) {
	rows = h.rows[h.start[s]:h.start[s+1]]
	if h.more != nil {
		more = h.more[s]
	}
	return rows, more
}
