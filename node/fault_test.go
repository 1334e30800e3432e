package node_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"

	"muster/entity"
	"muster/node"
	"muster/shard"
)

// Whatever the tests start, stop and break, no goroutine stays behind.
func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// load deposits through whatever nodes are up until it is stopped, one asker for each account, and counts what is known.
type load struct {
	t                  *testing.T
	c                  *cluster
	mu                 sync.Mutex // guards c.nodes against the test that kills and restarts
	confirmed, unknown [8]atomic.Int64
	refused            atomic.Int64
	last               [8]atomic.Value // what was last answered
	timeout            time.Duration   // of an ask
	stop               context.CancelFunc
	wait               sync.WaitGroup
}

func (c *cluster) load(timeout time.Duration) *load {
	ctx, cancel := context.WithCancel(c.t.Context())
	l := &load{t: c.t, c: c, timeout: timeout, stop: cancel}
	for i := range l.confirmed {
		l.wait.Go(func() { l.run(ctx, i) })
	}
	return l
}

func (l *load) node(turn int) *node.Node {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.c.nodes[turn%len(l.c.nodes)]
}

func (l *load) run(ctx context.Context, i int) {
	for turn := i; ctx.Err() == nil; turn++ {
		n := l.node(turn)
		if n == nil {
			continue
		}
		ask, cancel := context.WithTimeout(context.Background(), l.timeout)
		_, err := Deposit.Ask(ask, n, name(i), Amount{1})
		cancel()
		l.last[i].Store(fmt.Sprintf("through %s: %v", n.ID(), err))
		switch {
		case err == nil:
			l.confirmed[i].Add(1)
		case shard.As(err).Outcome == shard.Unknown:
			l.unknown[i].Add(1)
		default:
			l.refused.Add(1)
		}
	}
}

// change stops or starts nodes while no asker picks one.
func (l *load) change(do func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	do()
}

// end stops the load and checks that every account holds what was confirmed, and no more than may have been applied.
func (l *load) end() {
	l.t.Helper()
	l.stop()
	l.wait.Wait()
	var confirmed, unknown int64
	for i := range l.confirmed {
		got, err := Look.Ask(l.c.context(), l.c.senders()[0], name(i), struct{}{})
		least := l.confirmed[i].Load()
		if most := least + l.unknown[i].Load(); err != nil || got.Amount < least || got.Amount > most {
			l.t.Errorf("%s holds %d, must be %d to %d (%v)", name(i), got.Amount, least, most, err)
		}
		confirmed, unknown = confirmed+least, unknown+l.unknown[i].Load()
	}
	l.t.Logf("%d deposits confirmed, %d unknown, %d not applied", confirmed, unknown, l.refused.Load())
	if confirmed < 100 {
		l.t.Errorf("only %d deposits: the test shows nothing", confirmed)
	}
}

// confirms waits until more deposits go through than before.
func (l *load) confirms(what string) {
	l.t.Helper()
	began := time.Now()
	var before [8]int64
	for i := range before {
		before[i] = l.confirmed[i].Load()
	}
	for i := range before {
		for l.confirmed[i].Load() < before[i]+3 {
			if time.Since(began) > patience {
				l.t.Fatalf("%s: %s takes no deposits; %s", what, name(i), l.last[i].Load())
			}
			<-time.After(10 * time.Millisecond)
		}
	}
	l.t.Logf("%s: every account took deposits after %s", what, time.Since(began).Round(time.Millisecond))
}

// Under load on a slow disk, each node crashes in turn and comes back, then all crash at once. Nothing confirmed is lost,
// nothing is applied twice.
func TestCrashesUnderLoad(t *testing.T) {
	c := newCluster(t, 3, entity.Types(accounts)...)
	for i := range c.configs {
		c.configs[i].Tuning.SyncDelay = 5 * time.Millisecond
	}
	c.start()
	c.ready()
	l := c.load(4 * time.Second)
	for i := range c.nodes {
		l.confirms("before a crash")
		l.change(func() { c.kill(i) })
		l.confirms(fmt.Sprintf("n%d crashed", i+1))
		l.change(func() { c.start(i) })
	}
	l.change(func() {
		c.each(c.kill)
		c.start()
	})
	l.confirms("all crashed")
	l.end()
}

// breakDisk makes every later write to the file fail as a full disk does, by putting /dev/full under the open descriptor.
func breakDisk(t *testing.T, path string) {
	t.Helper()
	full, err := os.OpenFile("/dev/full", os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer full.Close()
	found := false
	descriptors, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range descriptors {
		if target, _ := os.Readlink("/proc/self/fd/" + d.Name()); target != path {
			continue
		}
		var fd int
		fmt.Sscan(d.Name(), &fd)
		if err := unix.Dup2(int(full.Fd()), fd); err != nil {
			t.Fatal(err)
		}
		found = true
	}
	if !found {
		t.Fatalf("%s is not open", path)
	}
}

// A node whose disk fails stops itself for good and says why; the program and the other nodes go on, and nothing
// confirmed is lost.
func TestDiskFault(t *testing.T) {
	c := newCluster(t, 3, entity.Types(accounts)...)
	b := &bank{t: t}
	c.start()
	c.ready()
	b.deposit(c.context(), 1, c.senders()...)
	sick := c.owner("account", name(0))
	n := c.nodes[sick]
	breakDisk(t, filepath.Join(c.configs[sick].Dir, "journal.db"))
	c.nodes[sick] = nil
	b.deposit(c.context(), 1, c.senders()...)
	select {
	case <-n.Failed():
	case <-c.context().Done():
		t.Fatal("the node did not notice")
	}
	if err := n.Err(); err == nil || !strings.Contains(err.Error(), "journal") {
		t.Errorf("the node says %v", err)
	}
	n.Shutdown(c.context()) // returns when everything is down
	if _, err := Look.Ask(c.context(), n, name(0), struct{}{}); shard.CodeOf(err) != shard.CodeClosed {
		t.Errorf("a stopped node answers %v", err)
	}
	if err := n.WaitFor(c.context(), 3); shard.CodeOf(err) != shard.CodeClosed {
		t.Errorf("a stopped node waits: %v", err)
	}
	b.check(c.context(), "without the sick node", c.senders()...)
	c.start(sick) // the operator made room
	c.ready()
	b.check(c.context(), "with the sick node back", c.senders()...)
}

var (
	slow    = entity.Define[int]("slow", entity.Shards(1))
	done    = entity.On(slow, "done", func(n *int, _ int) { *n++ })
	entered = make(chan struct{}, 1)
	leave   = make(chan struct{})
	Wait    = entity.Handle(slow, "wait", func(c *entity.Context[int], _ int) (int, error) {
		entered <- struct{}{}
		<-leave
		done.Record(c, 1)
		return c.State(), nil
	})
)

// A command that runs when the node is shut down is finished, journaled and answered.
func TestShutdownFinishesCommands(t *testing.T) {
	c := newCluster(t, 1, entity.Types(slow)...)
	c.start()
	c.ready()
	n := c.nodes[0]
	var wg sync.WaitGroup
	wg.Go(func() {
		if got, err := Wait.Ask(c.context(), n, "x", 0); err != nil || got != 1 {
			t.Errorf("the command under way: %d, %v", got, err)
		}
	})
	<-entered
	wg.Go(func() { c.shutdown(0) })
	for ask := true; ask; { // until the node takes nothing new
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		_, err := Wait.Ask(ctx, n, "y", 0)
		cancel()
		ask = shard.CodeOf(err) != shard.CodeClosed
		select {
		case <-entered:
		default:
		}
	}
	close(leave)
	wg.Wait()
	c.start()
	c.ready()
	if got, err := Wait.Ask(c.context(), c.nodes[0], "x", 0); err != nil || got != 2 {
		t.Errorf("after the restart: %d, %v", got, err)
	}
}

// A node beyond the voters is a member like any other: it hosts, asks, and is part of the group after a restart.
func TestMemberWithoutVote(t *testing.T) {
	c := newCluster(t, 3, entity.Types(accounts)...)
	for i := range c.configs {
		c.configs[i].Voters = 1
		c.configs[i].Seeds = c.configs[0].Seeds[:1]
	}
	c.start()
	c.ready()
	if self, known := c.nodes[1].Self(); !known || self.Voter {
		t.Errorf("the second node is %+v", self)
	}
	b := &bank{t: t}
	b.deposit(c.context(), 1, c.senders()...)
	c.shutdown(1)
	c.start(1)
	b.check(c.context(), "after the member's return", c.senders()...)
}
