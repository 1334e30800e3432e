package plan

// levelLeads plans hand-overs until the hosts of the type lead alike many shards, as far as they have copies of them: first those
// that lead too few take, then those that lead too many give.
func (t *table) levelLeads() {
	low, high, even := t.band(t.leads)
	if even {
		return
	}
	p := &pull{table: t, low: low, high: high, seen: make([]step, len(t.sites)), next: make([]int32, len(t.sites))}
	if t.spec.Volatile {
		p.group()
	} else {
		t.list()
	}
	t.expect(t.leads, high)
	for range maxRounds {
		if !p.round() {
			return
		}
	}
}

// maxRounds bounds how often primaries are levelled again: who gave on behalf of others in one round may take in the next.
const maxRounds = 8

// maxSearch bounds the sites one search visits.
const maxSearch = 64

// pull searches primaries for sites that lead too few, and takers for those of sites that lead too many.
//
// A site can only take what it has a copy of. First it takes from those that lead too much, which have to give anyway. Where
// they have nothing it holds, a chain does: it takes from a neighbour, who takes from the next. The search goes by
// breadth, so a chain is never longer than it must be.
type pull struct {
	*table
	low, high int32
	next      []int32   // by site: the rows before are not led by any that leads too much
	led       [][]int32 // of a volatile type, by site: the rows it leads
	search    int32     // under way, counted
	seen      []step    // by site
	visited   []int32
}

// step is how a search came to a site: by a row that would go from there to the site to, or come from it.
type step struct{ search, row, to int32 }

// round levels once, and reports whether anything moved.
func (p *pull) round() (moved bool) {
	clear(p.next)
	for poor := p.rank(p.leads, false, func(n int32) bool { return n < p.low }); poor.len() > 0; {
		if s := poor.top(); p.leads[s] < p.low && p.toward(s) {
			moved = true
			poor.fix()
		} else {
			poor.pop()
		}
	}
	for rich := p.rank(p.leads, true, func(n int32) bool { return n > p.high }); rich.len() > 0; {
		if s := rich.top(); p.leads[s] > p.high && p.away(s) {
			moved = true
			rich.fix()
		} else {
			rich.pop()
		}
	}
	return moved
}

// stays reports whether the row is to be led where it is.
func (p *pull) stays(i int32) bool {
	lead, state := p.lead[i], p.state[i]
	if lead == nowhere || state&active == 0 || !p.host[lead] {
		return true
	}
	return state&(moves|hasPin) != 0 && (p.placement(i).Wished() || p.isPinnedTo(i, lead))
}

// toward gives the site one more primary.
func (p *pull) toward(to int32) bool {
	if p.spec.Volatile {
		return p.anywhere(to)
	}
	if p.fromRich(to) {
		return true
	}
	p.begin(to)
	for k := 0; k < len(p.visited) && k < maxSearch; k++ {
		if rich := p.look(p.visited[k]); rich != nowhere {
			for s := rich; s != to; {
				at := p.seen[s]
				p.handTo(at.row, at.to, leadsUneven)
				s = at.to
			}
			return true
		}
	}
	return false
}

func (p *pull) begin(at int32) {
	p.search++
	p.seen[at] = step{search: p.search, row: nowhere}
	p.visited = append(p.visited[:0], at)
}

// away takes a primary off the site, to one that can lead one more.
func (p *pull) away(from int32) bool {
	if p.spec.Volatile {
		return p.offload(from)
	}
	p.begin(from)
	for k := 0; k < len(p.visited) && k < maxSearch; k++ {
		if poor := p.offer(p.visited[k]); poor != nowhere {
			for s := poor; s != from; {
				at := p.seen[s]
				p.handTo(at.row, s, leadsUneven)
				s = at.to
			}
			return true
		}
	}
	return false
}

// offer returns a site that could take a row which this one leads and has room for it. It notes the others, whom the search may
// visit next.
func (p *pull) offer(at int32) int32 {
	rows, more := p.holds.held(at)
	for k := range int32(len(rows) + len(more)) {
		i := pick(rows, more, k)
		if p.lead[i] != at || p.stays(i) {
			continue
		}
		for _, h := range p.of(i) {
			if p.seen[h.site].search == p.search || !p.host[h.site] || !p.leadable(i, h.site) {
				continue
			}
			p.seen[h.site] = step{p.search, i, at}
			p.visited = append(p.visited, h.site)
			if p.leads[h.site] < p.high {
				return h.site
			}
		}
	}
	return nowhere
}

// fromRich takes the next row of the site that is led by one above the band.
func (p *pull) fromRich(to int32) bool {
	rows, more := p.holds.held(to)
	for k := p.next[to]; int(k) < len(rows)+len(more); k++ {
		i := pick(rows, more, k)
		p.next[to] = k + 1
		if s := p.lead[i]; s != to && s != nowhere && p.leads[s] > p.high && !p.stays(i) && p.leadable(i, to) {
			p.handTo(i, to, leadsUneven)
			return true
		}
	}
	return false
}

func pick(rows, more []int32, k int32) int32 {
	if int(k) < len(rows) {
		return rows[k]
	}
	return more[int(k)-len(rows)]
}

// look returns a leader of what the site could lead that is to give: one above the band, or else the richest that may. It notes
// the others, whom the search may visit next.
func (p *pull) look(at int32) int32 {
	best := nowhere
	rows, more := p.holds.held(at)
	for k := range int32(len(rows) + len(more)) {
		i := pick(rows, more, k)
		s := p.lead[i]
		if s == at || s == nowhere || p.seen[s].search == p.search || p.stays(i) || !p.leadable(i, at) {
			continue
		}
		p.seen[s] = step{p.search, i, at}
		p.visited = append(p.visited, s)
		if p.leads[s] > p.high {
			return s // it has to give anyway
		}
		if p.leads[s] > p.low && (best == nowhere || p.leads[s] > p.leads[best]) {
			best = s
		}
	}
	return best
}

// leadable reports whether the site has a copy that the lead of the row could go to. A row that must be handed over anyway goes to
// a copy that there is: one that is yet to be made would wait for the old primary to go, and that one for it.
func (p *pull) leadable(i, at int32) bool {
	h := p.at(i, at)
	return h != nil && (h.ready || p.passed[i] == 0)
}

// group lists what each site leads of a volatile type, which any host could lead.
func (p *pull) group() {
	p.led = make([][]int32, len(p.sites))
	for i := range p.lead {
		if !p.stays(int32(i)) {
			p.led[p.lead[i]] = append(p.led[p.lead[i]], int32(i))
		}
	}
}

// anywhere gives the site a volatile shard of the richest.
func (p *pull) anywhere(to int32) bool {
	rich := nowhere
	for _, s := range p.hosts {
		if len(p.led[s]) > 0 && p.leads[s] > p.low && (rich == nowhere || p.leads[s] > p.leads[rich]) {
			rich = s
		}
	}
	return rich != nowhere && p.pass(rich, to)
}

// offload gives a volatile shard of the site to the poorest.
func (p *pull) offload(from int32) bool {
	poor := nowhere
	for _, s := range p.hosts {
		if p.leads[s] < p.high && (poor == nowhere || p.leads[s] < p.leads[poor]) {
			poor = s
		}
	}
	return poor != nowhere && len(p.led[from]) > 0 && p.pass(from, poor)
}

func (p *pull) pass(from, to int32) bool {
	last := len(p.led[from]) - 1
	i := p.led[from][last]
	p.led[from] = p.led[from][:last]
	p.handTo(i, to, leadsUneven)
	return true
}
