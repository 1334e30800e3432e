package plan

import (
	"cmp"
	"slices"

	"muster/shard"
)

// Load is what one shard is asked, smoothed over time.
type Load struct {
	Messages float64 // per second
	Bytes    float64 // of those, per second
	Stored   float64 // bytes that a move would copy
}

// Loads are the loads of the shards by number, for each type of which something is known. Read-only once handed over.
type Loads map[shard.TypeName][]Load

// The bands of levelLoad. A node above loadHigh gives until it is below loadLow or nothing helps: what lies between keeps a
// node that has just been relieved from being relieved again, and a load that wavers from moving anything.
const (
	loadHigh = 1.30 // × the mean
	loadLow  = 1.10
	loadGain = 0.05 // × the mean: what an exchange must take off the more loaded of the two
)

// weights are the loads of a table's rows as shares: half of a shard's weight is that it is one, a quarter each its part of
// messages and bytes. An average shard weighs 1. So numbers that are nearly nothing count for little, however uneven.
type weights struct {
	loads []Load
	meanM float64
	meanB float64
}

func weigh(loads []Load) weights {
	w := weights{loads: loads}
	for _, l := range loads {
		w.meanM, w.meanB = w.meanM+l.Messages, w.meanB+l.Bytes
	}
	if n := float64(len(loads)); n > 0 {
		w.meanM, w.meanB = w.meanM/n, w.meanB/n
	}
	return w
}

func (w *weights) known() bool { return len(w.loads) > 0 }

func (w *weights) bytes(i int32) float64 {
	if int(i) >= len(w.loads) {
		return 0
	}
	return w.loads[i].Stored
}

func (w *weights) of(i int32) float64 {
	part := func(x, mean float64) float64 {
		if mean <= 0 {
			return 1
		}
		return x / mean
	}
	if int(i) >= len(w.loads) {
		return 1
	}
	return 0.5 + 0.25*part(w.loads[i].Messages, w.meanM) + 0.25*part(w.loads[i].Bytes, w.meanB)
}

// levelLoad plans exchanges of leads that bring nodes which are asked much nearer to those that are asked little: a heavy shard
// one way, a light one back, so that the numbers of primaries stay as even as they are. Only hand-overs: no data are copied
// for it. It is planned when numbers are even, and only while a node is above loadHigh.
//
// Each exchange lowers the sum of the squares of the loads, so it comes to an end.
func (t *table) levelLoad() {
	if !t.weights.known() || t.spec.Volatile || t.alone || len(t.hosts) < 2 {
		return
	}
	if _, _, even := t.band(t.leads); !even || slices.ContainsFunc(t.state, func(s rowState) bool { return s&moves != 0 }) {
		return
	}
	s := &scale{table: t, load: make([]float64, len(t.sites)), led: make([][]int32, len(t.sites))}
	s.put()
	mean := s.sum / float64(len(t.hosts))
	for _, heavy := range s.above(loadHigh * mean) {
		for s.load[heavy] > loadLow*mean && s.relieve(heavy, loadGain*mean) {
		}
	}
}

// scale weighs what the hosts lead.
type scale struct {
	*table
	load []float64 // by site
	led  [][]int32 // by site: the rows it leads and may give, the heaviest first
	sum  float64
}

func (s *scale) put() {
	for i, lead := range s.lead {
		if lead == nowhere {
			continue
		}
		w := s.weights.of(int32(i))
		if s.load[lead] += w; s.host[lead] {
			s.sum += w
		}
		if s.host[lead] && s.state[i]&(active|hasPin) == active && s.passed[i] == 0 {
			s.led[lead] = append(s.led[lead], int32(i))
		}
	}
	for _, rows := range s.led {
		slices.SortStableFunc(rows, func(a, b int32) int { return cmp.Compare(s.weights.of(b), s.weights.of(a)) })
	}
}

// above lists the hosts with more, the most loaded first.
func (s *scale) above(bound float64) []int32 {
	list := slices.DeleteFunc(slices.Clone(s.hosts), func(site int32) bool { return s.load[site] <= bound })
	slices.SortStableFunc(list, func(a, b int32) int { return cmp.Compare(s.load[b], s.load[a]) })
	return list
}

// exchange is a row given for another: row goes to the site to, back comes from there.
type exchange struct {
	row, back, to int32
	gain          float64 // what the more loaded of the two has less
}

// relieve makes the exchange that takes most off the site, and reports whether there is one that gains so much.
func (s *scale) relieve(heavy int32, least float64) bool {
	best, any := exchange{gain: least}, false
	for _, row := range s.led[heavy] {
		for _, h := range s.of(row) {
			if h.site == heavy || !h.ready || !s.host[h.site] || s.load[h.site] >= s.load[heavy] {
				continue
			}
			if e, found := s.against(row, heavy, h.site); found && e.gain > best.gain {
				best, any = e, true
			}
		}
	}
	if any {
		s.hand(best.row, heavy, best.to)
		s.hand(best.back, best.to, heavy)
	}
	return any
}

// against finds what the site to could give back for the row: the lightest that heavy holds, unless that would only turn the
// tables.
func (s *scale) against(row, heavy, to int32) (exchange, bool) {
	for k := len(s.led[to]) - 1; k >= 0; k-- {
		back := s.led[to][k]
		if h := s.at(back, heavy); h == nil || !h.ready {
			continue
		}
		d := s.weights.of(row) - s.weights.of(back)
		after := max(s.load[heavy]-d, s.load[to]+d)
		return exchange{row, back, to, s.load[heavy] - after}, d > 0
	}
	return exchange{}, false
}

func (s *scale) hand(row, from, to int32) {
	w := s.weights.of(row)
	s.load[from] -= w
	s.load[to] += w
	s.led[from] = slices.DeleteFunc(s.led[from], func(i int32) bool { return i == row })
	s.handTo(row, to, loadUneven)
}
