package plan

import "slices"

// A ranking is a heap of sites by load, the first at the top. Ties go by the load of all types, then by name. A site's place is
// decided by what it carried when it was last put or fixed.
type ranking struct {
	t     *table
	load  []int32
	most  bool // the most loaded first, not the least
	salt  uint64
	sites []ranked
}

// ranked is a site and its key: smaller comes first.
type ranked struct {
	key  int64
	site int32
}

// rank orders the hosts whose load qualifies.
func (t *table) rank(load []int32, most bool, qualifies func(int32) bool) *ranking {
	r := &ranking{t: t, load: load, most: most, sites: make([]ranked, 0, len(t.hosts))}
	for _, s := range t.hosts {
		if qualifies(load[s]) {
			r.sites = append(r.sites, ranked{r.key(s), s})
		}
	}
	r.heapify()
	return r
}

// key packs the load, the load of all types and the number: the first two are below 2^22 and 2^26, for a group has no more shards
// and copies, the last below 2^14.
func (r *ranking) key(s int32) int64 {
	load, total := int64(r.load[s]), int64(r.t.total[s])
	if r.salt != 0 {
		return load<<40 | int64(mix(r.salt<<54^uint64(load)<<20^uint64(s))>>24)
	}
	if r.most {
		load, total = 1<<22-1-load, 1<<26-1-total
	}
	return load<<40 | total<<14 | int64(s)
}

// shuffle has ties go by a hash of site and load instead.
func (r *ranking) shuffle(salt uint64) {
	r.salt = salt
	for i := range r.sites {
		r.sites[i].key = r.key(r.sites[i].site)
	}
	r.heapify()
}

// mix scatters a number (the finalizer of SplitMix64).
func mix(x uint64) uint64 {
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}

func (r *ranking) heapify() {
	for i := len(r.sites)/2 - 1; i >= 0; i-- {
		r.down(i)
	}
}

func (r *ranking) len() int { return len(r.sites) }

// top is the first site.
func (r *ranking) top() int32 { return r.sites[0].site }

// fix puts the first site where it belongs now.
func (r *ranking) fix() {
	r.sites[0].key = r.key(r.sites[0].site)
	r.down(0)
}

// pop drops the first site.
func (r *ranking) pop() {
	last := len(r.sites) - 1
	r.sites[0] = r.sites[last]
	r.sites = r.sites[:last]
	if last > 0 {
		r.down(0)
	}
}

// push puts a site back.
func (r *ranking) push(s int32) {
	r.sites = append(r.sites, ranked{r.key(s), s})
	for i := len(r.sites) - 1; i > 0; {
		up := (i - 1) / 2
		if r.sites[up].key <= r.sites[i].key {
			return
		}
		r.sites[up], r.sites[i] = r.sites[i], r.sites[up]
		i = up
	}
}

func (r *ranking) down(i int) {
	sites := r.sites
	moved := sites[i]
	for {
		child := 2*i + 1
		if child >= len(sites) {
			break
		}
		if child+1 < len(sites) && sites[child+1].key < sites[child].key {
			child++
		}
		if sites[child].key >= moved.key {
			break
		}
		sites[i] = sites[child]
		i = child
	}
	sites[i] = moved
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

// expect makes room for as many moves as are above the band.
func (t *table) expect(load []int32, high int32) {
	over := 0
	for _, s := range t.hosts {
		over += int(max(0, load[s]-high))
	}
	t.planned = slices.Grow(t.planned, over)
}
