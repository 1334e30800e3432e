package replication_test

import (
	"fmt"
	"hash/maphash"
	"slices"

	"muster/replication"
	"muster/shard"
)

// An entry is what the explored world keeps of a record. Seq tells records apart that claim the same position.
type entry struct {
	epoch shard.Epoch
	kind  replication.Kind
	seq   shard.Seq
}

func (e entry) String() string {
	if e.kind == replication.KindEpochStart {
		return fmt.Sprintf("start@%d", e.epoch)
	}
	return fmt.Sprintf("w%d@%d", e.seq, e.epoch)
}

// A journal is what a log holds, LSN 1 first. It is never written in place, so worlds share it.
type journal []entry

// with returns the journal after a write.
func (j journal) with(w *replication.Write) journal {
	if w.Truncate != 0 {
		j = j[:min(shard.LSN(len(j)), w.Truncate-1)]
	}
	j = slices.Clip(j)
	for _, r := range w.Records {
		j = append(j, entry{r.Epoch, r.Kind, r.Seq})
	}
	return j
}

// agrees reports whether both hold the same first n entries.
func (j journal) agrees(other journal, n int) bool {
	return len(j) >= n && len(other) >= n && slices.Equal(j[:n], other[:n])
}

func (j journal) records(after, through shard.LSN) []replication.Record {
	var rs []replication.Record
	for lsn := after + 1; lsn <= through; lsn++ {
		e := j[lsn-1]
		rs = append(rs, replication.Record{
			Position: shard.Position{Epoch: e.epoch, LSN: lsn}, Kind: e.kind, Seq: e.seq,
		})
	}
	return slices.Clip(rs)
}

func (j journal) history() (h shard.History) {
	for i, e := range j {
		h = h.Extend(shard.Position{Epoch: e.epoch, LSN: shard.LSN(i + 1)})
	}
	return h
}

// A disk is what survives a crash.
type disk struct {
	promised  shard.Epoch
	confirmed shard.LSN
	base      shard.LSN // the copy knows nothing of the records up to here; log has them all the same
	log       journal
}

func (d *disk) state(id shard.CopyID) replication.State {
	s := replication.State{Copy: id, Promised: d.promised, Confirmed: d.confirmed, History: d.log.history()}
	if n := len(d.log); n > 0 {
		s.Last = shard.Position{Epoch: d.log[n-1].epoch, LSN: shard.LSN(n)}
	}
	if d.base != 0 {
		s.Base = shard.Position{Epoch: d.log[d.base-1].epoch, LSN: d.base}
		s.History = s.History.After(s.Base)
	}
	return s
}

// A read waits for its round, and for what it saw to be confirmed. It must see whatever was confirmed when it began.
type read struct {
	round    uint64
	saw      shard.LSN
	must     shard.LSN
	verified bool
}

// A node is a machine with one data directory and at most one process. It is immutable once its world is built: a step
// works on a clone.
type node struct {
	place   int // among the nodes
	up      bool
	session shard.SessionID // stored in its directory
	wiped   int             // directories it had before
	life    int             // processes it had before
	id      shard.CopyID    // of the copy in its directory, 0 for none
	disk    disk

	// Of the process; gone with it.
	copy  *replication.Copy
	log   journal              // what the shell can send: the disk's log after the writes under way
	queue []*replication.Write // under way to the disk, oldest first
	stage journal              // what the shard snapshot staged beside the log stands for
	maps  []*group             // states of the group that Watch brings, not seen yet
	seen  *group               // the newest of the epoch it leads
	given replication.Given    // the lead it gave up, zero for none
	read  *read

	sum [2]uint64 // fingerprint, made when the step is done
}

func (n *node) clone() *node {
	c := *n
	c.sum = [2]uint64{}
	if n.copy != nil {
		c.copy = n.copy.Clone()
	}
	c.queue, c.maps = slices.Clone(n.queue), slices.Clone(n.maps)
	return &c
}

func (n *node) directory() shard.DirectoryID { return directory(n.place, n.wiped) }

func (n *node) crash() {
	n.up, n.maps, n.given = false, nil, replication.Given{}
	n.close()
}

// close stops hosting the copy.
func (n *node) close() {
	n.copy, n.log, n.queue, n.stage, n.seen, n.read = nil, nil, nil, nil, nil, nil
}

func (n *node) start() {
	n.up = true
	n.life++
	n.open()
}

// open begins to host the copy that is on the disk, if there is one.
func (n *node) open() {
	if n.id != 0 {
		n.copy = replication.Open(theShard, n.disk.state(n.id))
		n.log = n.disk.log
	}
}

// commit writes the oldest write under way to the disk and reports which.
func (n *node) commit() replication.Ticket {
	w := n.queue[0]
	n.queue = n.queue[1:]
	n.disk.promised = max(n.disk.promised, w.Promise)
	n.disk.confirmed = max(n.disk.confirmed, w.Confirmed)
	if w.Install.LSN != 0 {
		n.disk.base = w.Install.LSN
	}
	n.disk.log = n.replaced(n.disk.log, w).with(w)
	return w.Ticket
}

// budget bounds a search: how often each thing that needs no cause may happen.
type budget struct {
	writes, crashes, wipes, suspects, reads, ticks int8
	rots                                           int8 // copies that are found damaged
	learners, drops                                int8 // that the group mints, and gives up
	changes                                        int8 // of C that primaries propose
	wishes                                         int8 // that another member leads
	starts                                         int8 // records that are put apart at the start of a log
}

// A world is one state of everything: the group, the nodes, what the network may still deliver, and what has happened.
//
// The network never forgets: a message may be delivered at any later time, any number of times, or never. So loss, delay,
// repetition and reordering need no steps of their own.
type world struct {
	r     *run
	group *group
	nodes []*node
	net   []int32 // sorted; numbers of r.messages
	past  *past
	left  budget
	sent  []int32 // by the step that made this world
}

// run is what all worlds of a search share.
type run struct {
	groups   *groups
	known    map[string]int32
	messages []any
	idle     map[errand][]int32 // what a delivery that changes nothing at its node sends
	seeds    [2]maphash.Seed
	config   config
	scratch  []byte
}

// config is one search.
type config struct {
	name    string
	quorum  int         // w
	members int         // of the first C
	spares  int         // nodes beside theirs
	learner learner     // caught up at the start; zero for none
	whims   bool        // primaries propose whatever C the protocol lets them, not only what it wants
	instant bool        // a write is synced in the step that makes it
	fresh   bool        // begin with the first placement; otherwise when epoch 1 is active and nothing is under way
	late    bool        // answers are kept until a later leadership of their receiver
	tail    int8        // records that n1 wrote last and that reached nobody else; not with fresh
	heirs   heirs       // to whom the lead is handed in one entry
	epochs  shard.Epoch // no recovery begins beyond this one
	may     budget
}

// The messages beside those of the package.
type (
	sealItem    shard.SealItem
	established struct {
		Epoch   shard.Epoch
		Session shard.SessionID
	}
)

// send puts a message into the network.
func (w *world) send(m any) {
	w.r.scratch = encode(w.r.scratch[:0], m)
	number, seen := w.r.known[string(w.r.scratch)]
	if !seen {
		number = int32(len(w.r.messages))
		w.r.known[string(w.r.scratch)] = number
		w.r.messages = append(w.r.messages, m)
	}
	w.sent = append(w.sent, number)
	if at, in := slices.BinarySearch(w.net, number); !in {
		w.net = slices.Insert(slices.Clip(w.net), at, number)
	}
}

// node number i, for changing.
func (w *world) edit(i int) *node {
	n := w.nodes[i].clone()
	w.nodes[i] = n
	return n
}

// home is the node whose directory holds the copy, nil when the copy is gone.
func (w *world) home(id shard.CopyID) (int, *node) {
	i := slices.IndexFunc(w.nodes[:], func(n *node) bool { return n.id == id })
	if i < 0 {
		return 0, nil
	}
	return i, w.nodes[i]
}

// carry carries effects out in their order.
func (w *world) carry(n *node, e replication.Effects) {
	if e.Deposed {
		n.seen = nil
	}
	w.checkServing(n)
	if e.Write != nil {
		n.queue = append(n.queue, e.Write)
		n.log = n.replaced(n.log, e.Write).with(e.Write)
		w.past.wrote(n)
	}
	for _, o := range e.Appends {
		m := o.Append
		if base := n.copy.Base(); m.Prev.LSN < base {
			w.past.fail("I7: copy %d sends what follows %s, its log starts after %d", n.id, m.Prev, base)
		}
		m.Records = n.log.records(m.Prev.LSN, o.Through)
		w.send(m)
	}
	for _, m := range e.Installs {
		w.send(snapshot{m, n.log[:m.Base.LSN]})
	}
	for _, a := range e.Acks {
		w.past.acked(n, a)
		w.send(a)
	}
	for _, m := range e.Nacks {
		w.send(m)
	}
	for _, s := range e.Sealed {
		w.past.sealed(n, s)
		w.send(s)
	}
	if e.Confirmed != 0 && n.copy.Leads() != 0 {
		w.past.confirm(n, e.Confirmed)
	}
	if e.Established {
		w.send(established{n.copy.Leads(), n.session})
	}
	w.answerRead(n, e)
	if w.r.config.instant && len(n.queue) > 0 {
		w.carry(n, n.copy.Durable(n.commit()))
	}
}

func (w *world) answerRead(n *node, e replication.Effects) {
	if e.Deposed || n.read == nil {
		n.read = nil
		return
	}
	next := *n.read
	next.verified = next.verified || e.Round >= next.round
	n.read = &next
	if next.verified && n.copy.Confirmed() >= next.saw {
		w.past.answered(n, next)
		n.read = nil
	}
}

// regroup makes g the group's state: the nodes it concerns will see it, and copies are asked to seal its epoch.
func (w *world) regroup(g *group) {
	w.past.mapped(w.group, g)
	was := w.group
	w.group = g
	w.checkActivated(was)
	for i, n := range w.nodes {
		if concerns(g, n) {
			n = w.edit(i)
			n.maps = append(n.maps, g)
		}
	}
	if g.place.Status != shard.Recovering {
		return
	}
	for _, c := range g.place.Copies {
		if c.State == shard.CopyReady {
			w.send(sealItem{Shard: theShard, Copy: c.ID, Epoch: g.place.Epoch})
		}
	}
}

// forget drops messages that cannot change anything any more, so that worlds that differ only in them are one. What is
// dropped is only what its receiver would ignore for ever.
func (w *world) forget() {
	kept := w.net[:0:0]
	for _, number := range w.net {
		if w.matters(w.r.messages[number]) {
			kept = append(kept, number)
		}
	}
	w.net = kept
}

func (w *world) matters(m any) bool {
	p := w.group.place
	switch m := m.(type) {
	case replication.Append:
		_, n := w.home(m.To)
		return n != nil && (m.Epoch >= n.disk.promised || w.mayHear(m.Epoch))
	case snapshot:
		_, n := w.home(m.To)
		return n != nil && (m.Epoch >= n.disk.promised || w.mayHear(m.Epoch))
	case report:
		return w.mayHelp(m)
	case replication.Ack:
		return w.mayHear(m.Epoch)
	case replication.Nack:
		return w.mayHear(m.Epoch)
	case sealItem:
		_, n := w.home(m.Copy)
		asked := m.Epoch == p.Epoch && p.Status == shard.Recovering
		return n != nil && (m.Epoch > n.disk.promised || asked)
	case shard.Sealed:
		return m.Epoch == p.Epoch && p.Status == shard.Recovering
	case established:
		return m.Epoch == p.Epoch && p.Status == shard.Establishing
	}
	return true
}

// mayHear reports whether an answer to the primary of an epoch can still be heard: by that primary, or with config.late by
// its copy leading a later epoch, which must drop it. Nobody leads an epoch twice.
func (w *world) mayHear(epoch shard.Epoch) bool {
	i, runs := w.leader(epoch)
	if !runs {
		return false
	}
	leads := w.nodes[i].copy.Leads()
	return leads == epoch || (w.r.config.late && leads != 0)
}
