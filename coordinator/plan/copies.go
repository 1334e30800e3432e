package plan

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
	t.list()
	t.expect(t.copies, high)
	p := &porter{table: t, pool: make([][]int32, len(t.sites)), asked: make([]bool, len(t.sites))}
	donors := t.rank(t.copies, true, func(n int32) bool { return n > low })
	for poor := t.rank(t.copies, false, func(n int32) bool { return n < low }); poor.len() > 0; {
		s := poor.top()
		if t.copies[s] >= low || !p.fill(s, low, donors) {
			poor.pop()
		} else {
			poor.fix()
		}
	}
	takers := t.rank(t.copies, false, func(n int32) bool { return n < high })
	for donors.len() > 0 && t.copies[donors.top()] > high {
		if !p.shed(donors.top(), high, takers) {
			donors.pop()
		} else {
			donors.fix()
		}
	}
}

// porter picks which copies move.
type porter struct {
	*table
	pool   [][]int32 // by site: the rows of which a copy could go; made when a site is asked a second time
	asked  []bool
	passed []int32 // sites set aside
}

// fill moves one copy to the site from the most loaded donor that has one for it.
func (p *porter) fill(to, low int32, donors *ranking) bool {
	return p.first(donors, func(s int32) bool { return p.copies[s] > low }, func(s int32) bool { return p.shift(s, to) })
}

// shed moves one copy off the site to the least loaded host that can take it.
func (p *porter) shed(s, high int32, takers *ranking) bool {
	return p.first(takers, func(to int32) bool { return p.copies[to] < high }, func(to int32) bool { return p.shift(s, to) })
}

// first tries the sites in the order of the ranking until one will do or, as those behind do not either, the next does not count.
func (p *porter) first(r *ranking, counts, try func(s int32) bool) bool {
	found := false
	for p.passed = p.passed[:0]; !found && r.len() > 0 && counts(r.top()); {
		if s := r.top(); try(s) {
			found = true
			r.fix()
		} else {
			p.passed = append(p.passed, s)
			r.pop()
		}
	}
	for _, s := range p.passed {
		r.push(s)
	}
	return found
}

// shift moves a copy between two sites, one with few bytes if it can choose. What moves is taken off the list.
func (p *porter) shift(s, to int32) bool {
	if !p.asked[s] {
		p.asked[s] = true
		rows, _ := p.holds.held(s)
		k := p.lightest(rows, s, to)
		if k < 0 {
			return false
		}
		p.give(rows[k], s, to)
		return true
	}
	if p.pool[s] == nil {
		p.pool[s] = p.gather(s)
	}
	list := p.pool[s]
	k := p.lightest(list, s, to)
	if k < 0 {
		return false
	}
	i := list[k]
	list[k] = list[len(list)-1]
	p.pool[s] = list[:len(list)-1]
	p.give(i, s, to)
	return true
}

// gather lists the rows of which a copy could go. It is never nil.
func (p *porter) gather(s int32) []int32 {
	rows, _ := p.holds.held(s)
	list := make([]int32, 0, len(rows))
	for _, i := range rows {
		if p.movable(i, s) {
			list = append(list, i)
		}
	}
	return list
}

// movable reports whether the row's copy on the site could leave.
func (p *porter) movable(i, s int32) bool {
	if p.state[i]&active == 0 || p.lead[i] == s && !p.alone {
		return false
	}
	h := p.at(i, s)
	return h != nil && h.ready && !p.isPinnedTo(i, s)
}

// fits reports whether the row's copy could leave the site for another: the one is movable, the other has none, and zones are spread
// no worse.
func (p *porter) fits(i, s, to int32) bool {
	if p.state[i]&active == 0 || p.lead[i] == s && !p.alone {
		return false
	}
	found, crowd := false, 0
	from, into := p.zone[s], p.zone[to]
	for _, h := range p.of(i) {
		switch {
		case h.site == to || h.was == to:
			return false
		case h.site == s:
			found = h.ready
			continue
		}
		if z := p.zone[h.site]; z == into {
			crowd++
		} else if z == from {
			crowd--
		}
	}
	return found && (crowd <= 0 || into == from) && !p.isPinnedTo(i, s) && (p.state[i]&odd == 0 || !p.taken(i, to))
}

// choices is how many copies that could move are weighed against each other.
const choices = 8

// lightest returns the place in the list of the copy that is least to move of the first few that could, -1 when there is none.
func (p *porter) lightest(list []int32, s, to int32) int {
	best, left := -1, choices
	for k, i := range list {
		if !p.fits(i, s, to) {
			continue
		}
		if best < 0 || p.weights.bytes(i) < p.weights.bytes(list[best]) {
			best = k
		}
		if left--; left == 0 || !p.weights.known() {
			break
		}
	}
	return best
}

func (p *porter) give(i, s, to int32) {
	if p.alone {
		p.carry(i, to, copiesUneven)
	} else {
		p.relocate(i, s, to, copiesUneven)
	}
}
