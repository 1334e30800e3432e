package journal

import "muster/shard"

// pageOfPlaces is how many places stand side by side. A full page never moves again, and only a log's first one grows, so a long log
// costs no copying, and no pause of everyone who waits for the lock meanwhile.
const pageOfPlaces = 512

// place says where an entry stands in the log.
type place struct {
	key    uint64
	offset uint32 // of its header in the value
	size   uint32 // header included; more than fits means that it goes on in the next keys
}

// before reports whether p stands before other.
func (p place) before(other place) bool {
	return p.key < other.key || (p.key == other.key && p.offset < other.offset)
}

// index is where the records of one copy stand, from LSN base+1 on: 16 bytes each.
//
// Invariant: every page but the first and the last is full of places that count.
type index struct {
	base  shard.LSN
	pages [][]place
	skip  int // places at the start of the first page that count no more
	count int
	bytes int64 // of the entries
}

func (x *index) append(places ...place) {
	for _, p := range places {
		x.bytes += int64(p.size)
	}
	for len(places) > 0 {
		end := x.skip + x.count
		if end == len(x.pages)*pageOfPlaces {
			x.pages = append(x.pages, make([]place, 0, min(pageOfPlaces, 8+len(x.pages)*pageOfPlaces)))
		}
		last := &x.pages[len(x.pages)-1]
		n := min(len(places), pageOfPlaces-end%pageOfPlaces)
		*last = append((*last)[:end%pageOfPlaces], places[:n]...)
		places = places[n:]
		x.count += n
	}
}

// truncate removes the records from lsn on; lsn is beyond base.
func (x *index) truncate(lsn shard.LSN) {
	for x.base+shard.LSN(x.count) >= lsn {
		x.bytes -= int64(x.at(x.base + shard.LSN(x.count)).size)
		x.count--
	}
	end := x.skip + x.count
	pages := (end + pageOfPlaces - 1) / pageOfPlaces
	clear(x.pages[pages:])
	x.pages = x.pages[:pages]
}

// start removes the records up to base, which are all there.
func (x *index) start(base shard.LSN) {
	for x.base < base {
		x.bytes -= int64(x.first().size)
		x.base++
		x.skip++
		x.count--
	}
	gone := x.skip / pageOfPlaces
	clear(x.pages[:gone])
	x.pages, x.skip = x.pages[gone:], x.skip%pageOfPlaces
}

// at returns the place of a record that is there.
func (x *index) at(lsn shard.LSN) place {
	i := x.skip + int(lsn-x.base-1)
	return x.pages[i/pageOfPlaces][i%pageOfPlaces]
}

// first returns the place of the first record, of which there is one.
func (x *index) first() place { return x.at(x.base + 1) }
