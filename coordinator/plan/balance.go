package plan

import (
	"cmp"
	"container/heap"

	"muster/shard"
)

// ranking is a heap of sites by load. Ties go by the load of all types, then by name.
type ranking struct {
	t     *table
	load  []int32
	sign  int32 // 1: the least loaded first; -1: the most
	sites []int32
}

func (r *ranking) Len() int      { return len(r.sites) }
func (r *ranking) Swap(i, k int) { r.sites[i], r.sites[k] = r.sites[k], r.sites[i] }
func (r *ranking) Push(s any)    { r.sites = append(r.sites, s.(int32)) }

// Pop implements heap.Interface.
func (r *ranking) Pop() any {
	last := len(r.sites) - 1
	s := r.sites[last]
	r.sites = r.sites[:last]
	return s
}

// Less implements heap.Interface.
func (r *ranking) Less(i, k int) bool {
	a, b := r.sites[i], r.sites[k]
	return cmp.Or(
		cmp.Compare(r.sign*r.load[a], r.sign*r.load[b]),
		cmp.Compare(r.sign*r.t.sites[a].copies, r.sign*r.t.sites[b].copies), cmp.Compare(a, b),
	) < 0
}

// rank orders the hosts whose load qualifies.
func (t *table) rank(load []int32, sign int32, qualifies func(int32) bool) *ranking {
	r := &ranking{t: t, load: load, sign: sign}
	for _, s := range t.hosts {
		if qualifies(load[s]) {
			r.sites = append(r.sites, s)
		}
	}
	heap.Init(r)
	return r
}

// band returns what a load is to be: the mean, rounded down and up. Every move brings a
// node that is outside nearer and keeps the other inside, so moves come to an end and are never undone.
func (t *table) band(load []int32) (low, high int32, even bool) {
	if len(t.hosts) < 2 {
		return 0, 0, true
	}
	sum := int32(0)
	for _, s := range t.hosts {
		sum += load[s]
	}
	n := int32(len(t.hosts))
	low, high = sum/n, (sum+n-1)/n
	for _, s := range t.hosts {
		if load[s] < low || load[s] > high {
			return low, high, false
		}
	}
	return low, high, true
}

// levelCopies plans moves of copies until the hosts of the type have alike many, as far as zones let it. First those below
// the band are filled from those that have most: when a node joins that is all, and no move is more than it takes. Then
// what is above the band goes to those that have least.
//
// A copy that leads stays: who wants to move it must hand over first, and there are others. An only copy takes the lead along.
func (t *table) levelCopies() {
	low, high, even := t.band(t.copies)
	if even || t.spec.Volatile {
		return
	}
	from := t.movable(low)
	donors := t.rank(t.copies, -1, func(n int32) bool { return n > low })
	for poor := t.rank(t.copies, 1, func(n int32) bool { return n < low }); poor.Len() > 0; {
		s := poor.sites[0]
		if t.copies[s] >= low || !t.fill(s, low, donors, from) {
			heap.Pop(poor)
		} else {
			heap.Fix(poor, 0)
		}
	}
	for donors.Len() > 0 && t.copies[donors.sites[0]] > high {
		if !t.shed(donors.sites[0], high, from) {
			heap.Pop(donors)
		} else {
			heap.Fix(donors, 0)
		}
	}
}

// movable lists for each site with more than low copies the rows of which one could go.
func (t *table) movable(low int32) [][]int32 {
	from := make([][]int32, len(t.sites))
	for _, s := range t.hosts {
		if t.copies[s] > low {
			from[s] = make([]int32, 0, t.copies[s])
		}
	}
	for i := range t.rows {
		r := &t.rows[i]
		if r.p.Status != shard.Active {
			continue
		}
		for _, h := range r.homes {
			if from[h.site] != nil && h.ready && (h.site != r.lead || t.alone()) && (r.p.Pinned == "" || r.p.Pinned != t.sites[h.site].member.ID) {
				from[h.site] = append(from[h.site], int32(i))
			}
		}
	}
	return from
}

// fill moves one copy to the site from the most loaded donor that has one for it.
func (t *table) fill(to, low int32, donors *ranking, from [][]int32) bool {
	var passed []int32
	found := false
	for donors.Len() > 0 && !found {
		s := donors.sites[0]
		if t.copies[s] <= low {
			break
		}
		if found = t.shift(s, to, from); found {
			heap.Fix(donors, 0)
		} else {
			passed = append(passed, s)
			heap.Pop(donors)
		}
	}
	for _, s := range passed {
		heap.Push(donors, s)
	}
	return found
}

// shed moves one copy off the site to the least loaded host that can take it.
func (t *table) shed(s, high int32, from [][]int32) bool {
	for poor := t.rank(t.copies, 1, func(n int32) bool { return n < high }); poor.Len() > 0; heap.Pop(poor) {
		if t.shift(s, poor.sites[0], from) {
			return true
		}
	}
	return false
}

// shift moves any one copy between two sites. What moves is taken off the list.
func (t *table) shift(s, to int32, from [][]int32) bool {
	list := from[s]
	for k, i := range list {
		r := &t.rows[i]
		if !t.taken(r, to) && t.sharing(r, to, s) <= t.sharing(r, s, s) {
			list[k] = list[len(list)-1]
			from[s] = list[:len(list)-1]
			if t.alone() {
				t.carry(r, to, CopiesUneven)
			} else {
				t.relocate(r, s, to, CopiesUneven)
			}
			return true
		}
	}
	return false
}

// levelLeads plans hand-overs until the hosts of the type lead alike many shards, as far as they have copies of them.
func (t *table) levelLeads() {
	low, high, even := t.band(t.leads)
	if even {
		return
	}
	p := &pull{t: t, low: low, high: high, led: make([][]int32, len(t.sites)), seen: make([]step, len(t.sites))}
	p.list()
	for range maxRounds {
		if !p.round() {
			return
		}
	}
}

// maxRounds bounds how often primaries are levelled again: who gave on behalf of others in one round may take in the next.
const maxRounds = 8

// round gives every site that leads too few what it can get, the poorest first, and reports whether anything moved.
func (p *pull) round() (moved bool) {
	for poor := p.t.rank(p.t.leads, 1, func(n int32) bool { return n < p.high }); poor.Len() > 0; {
		if p.toward(poor.sites[0]) {
			moved = true
			heap.Fix(poor, 0)
		} else {
			heap.Pop(poor)
		}
	}
	return moved
}

// maxSearch bounds the sites one search visits.
const maxSearch = 64

// pull searches primaries for sites that lead too few.
//
// A site can only take what it has a copy of. Where those who lead too much have nothing it holds, a chain does: it takes
// from a neighbour, who takes from the next. The search goes by breadth, so a chain is never longer than it must be.
type pull struct {
	t         *table
	low, high int32
	led       [][]int32 // by site: the rows it could lead; of a volatile type the rows it leads, for any host could
	leader    []int32   // by row: who leads; beside the rows, for the search reads nothing else of them
	search    int32     // under way, counted
	seen      []step    // by site
	visited   []int32
}

// step is how a search came to a site: the row its predecessor, the site to, would take from it.
type step struct{ search, row, to int32 }

// list finds which rows each host could lead, leaving out those that are to stay where they are.
func (p *pull) list() {
	t := p.t
	p.leader = make([]int32, len(t.rows))
	for i := range t.rows {
		r := &t.rows[i]
		p.leader[i] = r.lead
		if r.lead == nowhere || !t.host[r.lead] || r.p.Status != shard.Active || r.p.Wished() || r.p.Pinned != "" && r.lead == t.find(r.p.Pinned) {
			continue
		}
		if t.spec.Volatile {
			p.led[r.lead] = append(p.led[r.lead], int32(i))
		}
		for _, h := range r.homes {
			if t.host[h.site] {
				p.led[h.site] = append(p.led[h.site], int32(i))
			}
		}
	}
}

// toward gives the site one more primary.
func (p *pull) toward(to int32) bool {
	if p.t.spec.Volatile {
		return p.anywhere(to)
	}
	p.search++
	p.seen[to] = step{search: p.search, row: nowhere}
	p.visited = append(p.visited[:0], to)
	for k := 0; k < len(p.visited) && k < maxSearch; k++ {
		if rich := p.look(p.visited[k], to); rich != nowhere {
			p.take(rich, to)
			return true
		}
	}
	return false
}

// look returns a leader of what the site could lead that is to give: one above the band, or else the richest. It notes the
// others, whom the search may visit next.
func (p *pull) look(at, to int32) int32 {
	t, best := p.t, nowhere
	for _, i := range p.led[at] {
		s := p.leader[i]
		if s == at || p.seen[s].search == p.search {
			continue
		}
		p.seen[s] = step{p.search, i, at}
		p.visited = append(p.visited, s)
		if t.leads[s] > p.high {
			return s // it has to give anyway
		}
		if gives(t.leads[s], t.leads[to], p.low, p.high) && (best == nowhere || t.leads[s] > t.leads[best]) {
			best = s
		}
	}
	return best
}

// gives reports whether a site may give to another: that brings one of them nearer to the band and keeps the other in it.
func gives(rich, poor, low, high int32) bool {
	return poor < low && rich > low || poor < high && rich > high
}

// take hands over along the chain that the search found.
func (p *pull) take(rich, to int32) {
	for s := rich; s != to; {
		at := p.seen[s]
		p.t.handTo(&p.t.rows[at.row], at.to, LeadsUneven)
		p.leader[at.row] = at.to
		s = at.to
	}
}

// anywhere gives the site a volatile shard of the richest.
func (p *pull) anywhere(to int32) bool {
	t, rich := p.t, nowhere
	for _, s := range t.hosts {
		if len(p.led[s]) > 0 && (rich == nowhere || t.leads[s] > t.leads[rich]) {
			rich = s
		}
	}
	if rich == nowhere || !gives(t.leads[rich], t.leads[to], p.low, p.high) {
		return false
	}
	last := len(p.led[rich]) - 1
	i := p.led[rich][last]
	p.led[rich] = p.led[rich][:last]
	t.handTo(&t.rows[i], to, LeadsUneven)
	return true
}
