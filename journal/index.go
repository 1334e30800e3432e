package journal

import "muster/shard"

// pageOfPlaces is how many places stand side by side. A full page never moves again, so a long log costs no copying, and no
// pause of everyone who waits for the lock meanwhile.
const pageOfPlaces = 512

// place says where an entry stands in the log.
type place struct {
	key    uint64
	offset uint32 // of its header in the value
	size   uint32 // header included; more than fits means that it goes on in the next keys
}

// index is where the records of one copy stand, from LSN 1 on: 16 bytes each.
//
// Invariant: every page but the last is full.
type index struct {
	pages [][]place
	count int
}

func (x *index) append(places ...place) {
	for len(places) > 0 {
		if x.count == len(x.pages)*pageOfPlaces {
			x.pages = append(x.pages, nil)
		}
		last := &x.pages[len(x.pages)-1]
		n := min(len(places), pageOfPlaces-len(*last))
		*last = append(*last, places[:n]...)
		places = places[n:]
		x.count += n
	}
}

// truncate removes the records from lsn on.
func (x *index) truncate(lsn shard.LSN) {
	x.count = int(lsn - 1)
	x.pages = x.pages[:(x.count+pageOfPlaces-1)/pageOfPlaces]
	if rest := x.count % pageOfPlaces; rest > 0 {
		last := &x.pages[len(x.pages)-1]
		*last = (*last)[:rest]
	}
}

// at returns the place of a record that is there.
func (x *index) at(lsn shard.LSN) place {
	i := int(lsn - 1)
	return x.pages[i/pageOfPlaces][i%pageOfPlaces]
}
