package replication_test

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/cockroachdb/datadriven"

	"muster/replication"
	"muster/shard"
)

// TestScripts runs the stories in testdata/replication: copies of one shard, a disk each, and a network that delivers when
// it is told to. What a call leads to is printed below it, in the order of execution.
//
// Each script opens with what it shows. A copy is named by its number; `all` is every copy that runs. Under `run`:
//
//	copies N…                       copies with empty disks start
//	lead N epoch=E quorum=W [of=1,2,3]   the map names it; of defaults to all copies
//	activate N                      the map says that its epoch is active
//	follow N epoch=E                the map has another primary
//	propose N [COUNT]               so many commands become records
//	read N                          a round of confirmed reads begins
//	seal N epoch=E                  the coordinator asks for a promise
//	start N LSN                     its log starts after LSN from now on
//	sync N [COUNT]                  the oldest writes under way, or all, reach the disk
//	deliver N, reversed N           what is under way to it arrives, in order or last first
//	again N                         what was delivered to it last arrives once more
//	lose N                          what is under way to it is lost
//	crash N, restart N              what was not synced is lost; the disk is read
//	tick N [COUNT]                  so much time passes for it
//	settle                          everything under way arrives and is synced, until nothing is
//	quiet COMMAND                   the same without printing
//	status N, disk N                what it knows, what it has
func TestScripts(t *testing.T) {
	datadriven.Walk(t, "../testdata/replication", func(t *testing.T, path string) {
		st := &stage{t: t, nodes: map[shard.CopyID]*node{}, inbox: map[shard.CopyID][]any{}, last: map[shard.CopyID][]any{}}
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
			st.t = t
			for line := range strings.Lines(d.Input) {
				st.line(strings.Fields(line))
			}
			out := st.out.String()
			st.out.Reset()
			return out
		})
	})
}

// stage is where a script plays.
type stage struct {
	t       *testing.T
	out     strings.Builder
	nodes   map[shard.CopyID]*node
	order   []shard.CopyID
	inbox   map[shard.CopyID][]any // under way, oldest first
	last    map[shard.CopyID][]any // delivered last
	written shard.Seq
	silent  bool
}

func (st *stage) printf(format string, args ...any) {
	if !st.silent {
		fmt.Fprintf(&st.out, format+"\n", args...)
	}
}

func (st *stage) line(words []string) {
	if len(words) == 0 {
		return
	}
	if words[0] == "quiet" {
		st.silent = true
		defer func() { st.silent = false }()
		words = words[1:]
	}
	switch words[0] {
	case "copies":
		for _, word := range words[1:] {
			id := st.number(word)
			st.nodes[id] = &node{id: id}
			st.order = append(st.order, id)
			st.nodes[id].start()
		}
		return
	case "settle":
		st.settle()
		return
	}
	for _, id := range st.named(words[1]) {
		st.act(words[0], id, words[2:])
		if n := st.nodes[id]; n.copy != nil {
			if err := n.copy.Check(); err != nil {
				st.t.Errorf("after %v: %v", words, err)
			}
		}
	}
}

func (st *stage) number(word string) shard.CopyID {
	n, err := strconv.ParseUint(word, 10, 64)
	if err != nil {
		st.t.Fatalf("%q is not a number", word)
	}
	return shard.CopyID(n)
}

func (st *stage) named(word string) []shard.CopyID {
	if word != "all" {
		return []shard.CopyID{st.number(word)}
	}
	return slices.DeleteFunc(slices.Clone(st.order), func(id shard.CopyID) bool { return !st.nodes[id].up })
}

// argument returns the value of name=value, def when there is none.
func (st *stage) argument(args []string, name string, def uint64) uint64 {
	for _, a := range args {
		if value, found := strings.CutPrefix(a, name+"="); found {
			return uint64(st.number(value))
		}
	}
	return def
}

func (st *stage) count(args []string, def int) int {
	if len(args) == 0 {
		return def
	}
	return int(st.number(args[0]))
}

func (st *stage) act(verb string, id shard.CopyID, args []string) {
	n := st.nodes[id]
	epoch := shard.Epoch(st.argument(args, "epoch", 0))
	switch verb {
	case "lead":
		st.lead(n, epoch, args)
	case "activate":
		st.carry(n, n.copy.Activate(1))
	case "follow":
		st.carry(n, n.copy.Follow(epoch))
	case "propose":
		st.propose(n, st.count(args, 1))
	case "read":
		round, e := n.copy.Read()
		st.printf("%d: read in round %d", id, round)
		st.carry(n, e)
	case "seal":
		st.carry(n, n.copy.Seal(epoch))
	case "start":
		e, ok := n.copy.Start(shard.LSN(st.count(args, 0)))
		if !ok {
			st.printf("%d: no start there", id)
			return
		}
		n.disk.base = n.copy.Status().Base
		st.carry(n, e)
	case "sync":
		st.sync(n, st.count(args, len(n.queue)))
	case "tick":
		for range st.count(args, 1) {
			st.carry(n, n.copy.Tick())
		}
	case "crash":
		n.crash()
		delete(st.inbox, id)
	case "restart":
		n.start()
	case "deliver", "reversed", "again", "lose":
		st.deliver(verb, id)
	case "status":
		st.status(n.copy.Status())
	case "disk":
		st.printf("%d: promised %d, confirmed %d, %v", id, n.disk.promised, n.disk.confirmed, n.disk.log)
	default:
		st.t.Fatalf("no command %q", verb)
	}
}

func (st *stage) lead(n *node, epoch shard.Epoch, args []string) {
	l := replication.Leadership{Epoch: epoch, Version: 1, Copies: st.order, WriteQuorum: int(st.argument(args, "quorum", 2))}
	for _, a := range args {
		if list, found := strings.CutPrefix(a, "of="); found {
			l.Copies = nil
			for word := range strings.SplitSeq(list, ",") {
				l.Copies = append(l.Copies, st.number(word))
			}
		}
	}
	e, err := n.copy.Lead(l)
	if err != nil {
		st.printf("%d: %v", n.id, err)
	}
	st.carry(n, e)
}

func (st *stage) propose(n *node, count int) {
	records := make([]replication.Record, count)
	for i := range records {
		st.written++
		records[i] = replication.Record{Kind: replication.KindCommand, Seq: st.written}
	}
	e, err := n.copy.Propose(records)
	if err != nil {
		st.printf("%d: %v", n.id, err)
	}
	st.carry(n, e)
}

func (st *stage) sync(n *node, count int) {
	for range count {
		ticket := n.commit()
		st.printf("%d: synced write %d", n.id, ticket)
		st.carry(n, n.copy.Durable(ticket))
	}
}

// deliver hands over what was under way before: what it leads to waits for the next time.
func (st *stage) deliver(how string, id shard.CopyID) {
	batch := st.inbox[id]
	if how == "again" {
		batch = st.last[id]
	} else {
		delete(st.inbox, id)
	}
	if how == "lose" {
		for _, m := range batch {
			st.printf("%d: lost %s", id, tell(m))
		}
		return
	}
	if how == "reversed" {
		slices.Reverse(batch)
	}
	st.last[id] = batch
	for _, m := range batch {
		st.printf("%d: got %s", id, tell(m))
		st.receive(st.nodes[id], m)
	}
}

func (st *stage) receive(n *node, m any) {
	if n.copy == nil {
		return
	}
	switch m := m.(type) {
	case replication.Append:
		st.carry(n, n.copy.Append(m))
	case replication.Ack:
		st.carry(n, n.copy.Ack(m))
	case replication.Nack:
		st.carry(n, n.copy.Nack(m))
	case snapshot:
		n.stage = m.stands
		st.carry(n, n.copy.Install(m.Install))
	}
}

// settle lets everything under way arrive and be synced.
func (st *stage) settle() {
	for busy := true; busy; {
		busy = false
		for _, id := range st.named("all") {
			if n := st.nodes[id]; len(n.queue)+len(st.inbox[id]) > 0 {
				busy = true
				st.sync(n, len(n.queue))
				st.deliver("deliver", id)
			}
		}
	}
}

// carry carries effects out and prints them, in their order. Answers go to the primary the copy follows.
func (st *stage) carry(n *node, e replication.Effects) {
	if e.Deposed {
		st.printf("%d: deposed", n.id)
	}
	if w := e.Write; w != nil {
		st.printf("%d: %s", n.id, tellWrite(w))
		n.queue = append(n.queue, w)
		n.log = n.replaced(n.log, w).with(w)
	}
	for _, o := range e.Appends {
		m := o.Append
		if base := n.copy.Status().Base; m.Prev.LSN < base {
			st.t.Errorf("copy %d sends what follows %s, its log starts after %d", n.id, m.Prev, base)
		}
		m.Records = n.log.records(m.Prev.LSN, o.Through)
		st.send(n, m.To, m)
	}
	for _, m := range e.Installs {
		st.send(n, m.To, snapshot{m, n.log[:m.Base.LSN]})
	}
	for _, a := range e.Acks {
		st.send(n, n.copy.Status().Primary, a)
	}
	for _, m := range e.Nacks {
		st.send(n, st.leaderOf(m.Epoch), m)
	}
	for _, s := range e.Sealed {
		st.printf("%d: %s", n.id, tellSealed(s))
	}
	if e.Confirmed != 0 {
		st.printf("%d: confirmed %d", n.id, e.Confirmed)
	}
	if e.Round != 0 {
		st.printf("%d: round %d verified", n.id, e.Round)
	}
	if e.Established {
		st.printf("%d: established", n.id)
	}
}

func (st *stage) leaderOf(epoch shard.Epoch) shard.CopyID {
	for id, n := range st.nodes {
		if n.copy != nil && n.copy.Leads() == epoch {
			return id
		}
	}
	return 0
}

func (st *stage) send(n *node, to shard.CopyID, m any) {
	st.printf("%d: sends %s", n.id, tell(m))
	if to != 0 {
		st.inbox[to] = append(st.inbox[to], m)
	}
}

func (st *stage) status(s replication.Status) {
	from := ""
	if s.Base > 0 {
		from = fmt.Sprintf("after %d ", s.Base)
	}
	st.printf("%d: %s, promised epoch %d, log %sto %s, durable to %d, confirmed to %d", s.Copy, s.Role, s.Promised, from, s.Last, s.Durable, s.Confirmed)
	for _, p := range s.Peers {
		refused := ""
		if p.Refused != 0 {
			refused = ", refused: " + p.Refused.String()
		}
		if p.Filling {
			refused += ", gets the snapshot"
		}
		st.printf("   copy %d holds %d, was sent %d, silent for %d ticks%s", p.Copy, p.Matched, p.Sent, p.Silent, refused)
	}
	if len(s.Awaited) > 0 {
		st.printf("   waits for copies %v", s.Awaited)
	}
}

func tellWrite(w *replication.Write) string {
	words := []string{fmt.Sprintf("write %d:", w.Ticket)}
	if w.Promise != 0 {
		words = append(words, fmt.Sprintf("promise %d", w.Promise))
	}
	if w.Install.LSN != 0 {
		words = append(words, fmt.Sprintf("replaced up to %s", w.Install))
	}
	if w.Truncate != 0 {
		words = append(words, fmt.Sprintf("cut from %d", w.Truncate))
	}
	if len(w.Records) > 0 {
		words = append(words, fmt.Sprintf("%v from %d", journal(nil).with(&replication.Write{Records: w.Records}), w.Records[0].LSN))
	}
	return strings.Join(words, " ")
}

func tellSealed(s shard.Sealed) string {
	if s.Fault != nil {
		return fmt.Sprintf("not sealed at %d: %v", s.Epoch, s.Fault)
	}
	led := ""
	if s.Led {
		led = ", led before"
	}
	return fmt.Sprintf("sealed at %d: log to %s, confirmed to %d%s", s.Epoch, s.Last, s.Confirmed, led)
}
