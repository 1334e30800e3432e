package plan

import "slices"

// rendezvous puts each shard on the hosts that score highest for it, by a hash of both names (Thaler and Ravishankar, 1998).
// Anybody can compute the place without asking; a node that joins or leaves moves only what it wins or had; what it has of
// that, shares are even only about as far as dice are. Zones are spread first. The highest score leads.
//
// Nodes that are down and may come back keep their scores, so that nothing moves before they are given up.
type rendezvous struct{}

// score is how much a site is wanted for a row.
func (rendezvous) score(t *table, row, s int32) uint64 {
	return mix(t.seed + uint64(row)*0x9e3779b97f4a7c15 ^ t.hash[s])
}

func (r rendezvous) found(t *table) func(int32) []int32 {
	return func(row int32) []int32 { return r.wanted(t, row, t.hosts, nil) }
}

func (r rendezvous) room(t *table, row, except int32) int32 {
	best, sharing, score := nowhere, 0, uint64(0)
	for _, s := range t.hosts {
		n := t.sharing(row, s, except)
		if best != nowhere && n > sharing || t.taken(row, s) {
			continue
		}
		if at := r.score(t, row, s); best == nowhere || n < sharing || at > score {
			best, sharing, score = s, n, at
		}
	}
	return best
}

func (r rendezvous) level(t *table) {
	may := r.candidates(t)
	if len(may) == 0 {
		return
	}
	if !t.belong.of(t, may) {
		t.belong = belonging{may: may, zone: t.zone, list: make([]int32, len(t.homes))}
	}
	var list []int32
	for i := range t.n {
		row := int32(i)
		if t.state[i]&(active|moves|hasPin|short) == active && t.passed[i] == 0 && !t.touched(row) && t.lead[i] != nowhere {
			list = r.remembered(t, row, may, list[:0])
			r.arrange(t, row, list)
		}
	}
}

// candidates are the sites that count: those that take something new, and those that are down and awaited.
func (rendezvous) candidates(t *table) []int32 {
	var may []int32
	for s := range t.sites {
		if at := &t.sites[s]; t.host[s] || !at.up && at.stays() && at.member.Open() && t.copies[s]+t.leads[s] > 0 {
			may = append(may, int32(s))
		}
	}
	return may
}

// belonging is where rows belong, as long as the same sites count: working it out for all takes longer than all the rest.
type belonging struct {
	may, zone []int32
	list      []int32 // as many for each row as it has homes, counted from 1; 0 for not worked out
}

func (b *belonging) of(t *table, may []int32) bool {
	return slices.Equal(b.may, may) && slices.Equal(b.zone, t.zone) && len(b.list) == len(t.homes)
}

// remembered is wanted, from memory when all the row's homes count.
func (r rendezvous) remembered(t *table, row int32, may, list []int32) []int32 {
	for _, h := range t.of(row) {
		if _, counts := slices.BinarySearch(may, h.site); !counts {
			return r.wanted(t, row, may, list)
		}
	}
	kept := t.belong.list[int(row)*t.wide : (int(row)+1)*t.wide]
	if kept[0] == 0 {
		for k, s := range r.wanted(t, row, may, list) {
			kept[k] = s + 1
		}
	}
	for _, s := range kept {
		if s > 0 {
			list = append(list, s-1)
		}
	}
	return list
}

// wanted are the sites where the row belongs, the one that is to lead first: as many as it has copies, less those that stay on
// sites which take nothing new.
func (r rendezvous) wanted(t *table, row int32, may, list []int32) []int32 {
	var kept []int32
	for _, h := range t.of(row) {
		if !contains(may, h.site) {
			kept = append(kept, h.site)
		}
	}
	for len(list)+len(kept) < t.wide && len(list) < len(may) {
		best, sharing, score := nowhere, 0, uint64(0)
		for _, s := range may {
			n := t.alike(list, s) + t.alike(kept, s)
			if best != nowhere && n > sharing || contains(list, s) {
				continue
			}
			if at := r.score(t, row, s); best == nowhere || n < sharing || at > score {
				best, sharing, score = s, n, at
			}
		}
		list = append(list, best)
	}
	return list
}

// alike counts the sites that are in the zone of another.
func (t *table) alike(list []int32, s int32) (n int) {
	for _, other := range list {
		if t.zone[other] == t.zone[s] {
			n++
		}
	}
	return n
}

func contains(list []int32, s int32) bool {
	for _, other := range list {
		if other == s {
			return true
		}
	}
	return false
}

// arrange plans that the row goes where it is wanted. What leads goes last: it is led by the first of them before.
func (r rendezvous) arrange(t *table, row int32, wanted []int32) {
	if len(wanted) == 0 {
		return
	}
	first := wanted[0]
	if t.spec.Volatile {
		if t.host[first] && t.lead[row] != first {
			t.handTo(row, first, byHash)
		}
		return
	}
	for _, to := range wanted {
		if !t.host[to] || t.taken(row, to) {
			continue
		}
		if t.alone {
			if t.movesAlone(row) {
				t.carry(row, to, byHash)
			}
			return
		}
		if from := r.stray(t, row, wanted); from != nowhere {
			t.relocate(row, from, to, byHash)
		}
	}
	if h := t.at(row, first); h != nil && t.lead[row] != first && t.sites[first].up && t.host[first] && t.host[t.lead[row]] {
		t.handTo(row, first, byHash)
	}
}

// stray returns a home where the row does not belong and which can leave now, nowhere when there is none.
func (rendezvous) stray(t *table, row int32, wanted []int32) int32 {
	for _, h := range t.of(row) {
		if h.ready && t.host[h.site] && h.site != t.lead[row] && !contains(wanted, h.site) {
			return h.site
		}
	}
	return nowhere
}
