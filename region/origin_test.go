package region

import (
	"testing"

	"muster/shard"
)

// A shard's new placement, and the region's end, are told to the asks of every session that are open, and of no desk that is left.
func TestAsksOfASessionBeforeAreTold(t *testing.T) {
	var o origin
	o.init(nil)
	id := shard.ID{Type: "counter"}
	desks, open := map[shard.SessionID]*desk{}, map[shard.SessionID]*ask{}
	for session := shard.SessionID(1); session <= 4; session++ {
		d := o.desk(id, session)
		d.places <- struct{}{}
		open[session] = newAsk()
		desks[session] = d
		number := d.number(open[session], &o.numbers)
		if session == 2 {
			d.close(number)
			delete(open, session)
		}
	}
	for what, tell := range map[string]func(){"moved": func() { o.moved(id) }, "close": o.close} {
		tell()
		for session, a := range open {
			if _, moved := a.look(); !moved {
				t.Errorf("%s: the ask of session %d was not told", what, session)
			}
		}
	}
	if desks[4].before != desks[3] || desks[3].before != desks[1] {
		t.Error("a desk at which nobody asks is kept")
	}
}
