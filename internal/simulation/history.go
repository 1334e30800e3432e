package simulation

import (
	"encoding/binary"
	"slices"
	"time"

	"muster/replication"
	"muster/shard"
)

// entityKey names an entity of a shard.
type entityKey struct {
	shard  shard.ID
	entity shard.EntityID
}

// history is what was confirmed, as the clients should have seen it.
type history struct {
	w     *world
	lists map[entityKey][]uint64
	place map[uint64]int // of each number in its list
	times map[entityKey][]moment
}

// moment says that at a time a list was known to have a length.
type moment struct {
	at     time.Duration
	length int
}

// judge holds the clients' commands against what was confirmed. I11: what was answered "done" is there once, what was
// answered "refused" is not. I12: every read saw a beginning of the list, with everything that was done before it began
// and nothing that began after it ended; and appends stand in the order of their times.
func (w *world) judge() {
	h := &history{w: w, lists: map[entityKey][]uint64{}, place: map[uint64]int{}, times: map[entityKey][]moment{}}
	for _, id := range w.setup.ids {
		h.load(id)
	}
	var ops []*operation
	for _, c := range w.clients {
		ops = append(ops, c.ended...)
	}
	slices.SortStableFunc(ops, func(a, b *operation) int { return int(a.ended - b.ended) })
	for _, op := range ops {
		if w.setup.spec(op.shard.Type).Volatile || op.began <= w.check.of(op.shard).lost {
			continue // it says nothing, or what it says was given up
		}
		if op.read {
			h.read(op)
		} else {
			h.append(op)
		}
	}
	for _, op := range ops {
		if place, found := h.place[op.value]; found && !op.read && op.began > w.check.of(op.shard).lost {
			h.order(op, place)
		}
	}
}

func (h *history) load(id shard.ID) {
	seen := map[shard.RequestID]shard.LSN{}
	for _, r := range h.w.check.of(id).confirmed.records {
		if r.Kind != replication.KindCommand {
			continue
		}
		if first, twice := seen[r.Request]; twice {
			h.w.fail("I11: %s has request %v at %d and at %d", id, r.Request, first, r.LSN)
		}
		seen[r.Request] = r.LSN
		k, value := entityKey{id, r.Entity}, binary.LittleEndian.Uint64(r.Body)
		h.place[value] = len(h.lists[k])
		h.lists[k] = append(h.lists[k], value)
		if r.Seq != shard.Seq(len(h.lists[k])) {
			h.w.fail("%s: record %d has seq %d, it is the entity's %d", id, r.LSN, r.Seq, len(h.lists[k]))
		}
	}
}

func (h *history) append(op *operation) {
	place, found := h.place[op.value]
	switch {
	case op.kind == done && !found:
		h.w.fail("I11: %s: the append of %d was done at %.3fs and is not there", op.shard, op.value, op.ended.Seconds())
	case op.kind == refused && found:
		h.w.fail("I11: %s: the append of %d was refused at %.3fs and is there", op.shard, op.value, op.ended.Seconds())
	case op.kind == done:
		h.know(op, place+1)
	}
}

func (h *history) read(op *operation) {
	if op.kind != done {
		return
	}
	list := h.lists[entityKey{op.shard, op.entity}]
	if len(op.values) > len(list) || !slices.Equal(op.values, list[:len(op.values)]) {
		h.w.fail("I12: %s/%s: a read that ended at %.3fs saw %d numbers, which are not how the list begins", op.shard, op.entity, op.ended.Seconds(), len(op.values))
	}
	if least := h.known(op); len(op.values) < least {
		h.w.fail("I12: %s/%s: a read from %.3fs to %.3fs saw %d numbers, %d were known before",
			op.shard, op.entity, op.began.Seconds(), op.ended.Seconds(), len(op.values), least)
	}
	h.know(op, len(op.values))
}

// know notes, in the order of ends, what length a command proved.
func (h *history) know(op *operation, length int) {
	k := entityKey{op.shard, op.entity}
	if t := h.times[k]; len(t) > 0 {
		length = max(length, t[len(t)-1].length)
	}
	h.times[k] = append(h.times[k], moment{op.ended, length})
}

// known is the length that was proved before the command began.
func (h *history) known(op *operation) int {
	t := h.times[entityKey{op.shard, op.entity}]
	i, _ := slices.BinarySearchFunc(t, op.began, func(m moment, at time.Duration) int { return int(m.at - at) })
	if i == 0 {
		return 0
	}
	return t[i-1].length
}

// order demands that an append stands behind everything that was known before it began.
func (h *history) order(op *operation, place int) {
	if least := h.known(op); place < least {
		h.w.fail("I12: %s/%s: the append of %d began at %.3fs and stands at %d, %d were known before",
			op.shard, op.entity, op.value, op.began.Seconds(), place, least)
	}
}
