package node_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"muster/barrier"
	"muster/client"
	"muster/entity"
	"muster/node"
	"muster/shard"
)

type (
	Account   struct{ Balance int64 }
	Deposited struct{ Amount int64 }
	Amount    struct{ Amount int64 }
)

var accounts = entity.Define[Account]("account", entity.Shards(16), entity.Replicate(2, 1, 5*time.Second), entity.SnapshotEvery(5))

var deposited = entity.On(accounts, "deposited", func(a *Account, e Deposited) { a.Balance += e.Amount })

var Deposit = entity.Handle(accounts, "deposit", func(c *entity.Context[Account], d Amount) (Amount, error) {
	if d.Amount <= 0 {
		return Amount{}, entity.Refuse("amount must be positive")
	}
	deposited.Record(c, Deposited(d))
	return Amount{c.State().Balance}, nil
})

var Look = entity.Handle(accounts, "look", func(c *entity.Context[Account], _ struct{}) (Amount, error) {
	return Amount{c.State().Balance}, nil
})

// bank deposits and remembers what every account must hold.
type bank struct {
	t    *testing.T
	sums [20]atomic.Int64
}

func name(i int) entity.ID { return entity.ID(fmt.Sprintf("account-%d", i)) }

// deposit puts rounds times 1 into every account through each sender, all at once.
func (b *bank) deposit(ctx context.Context, rounds int, senders ...entity.Sender) {
	b.t.Helper()
	var wg sync.WaitGroup
	for _, s := range senders {
		for i := range b.sums {
			wg.Go(func() {
				for range rounds {
					if _, err := Deposit.Ask(ctx, s, name(i), Amount{1}); err != nil {
						b.t.Errorf("deposit to %s: %v", name(i), err)
						return
					}
					b.sums[i].Add(1)
				}
			})
		}
	}
	wg.Wait()
}

// check compares every account with what was put into it, through every sender.
func (b *bank) check(ctx context.Context, when string, senders ...entity.Sender) {
	b.t.Helper()
	for _, s := range senders {
		for i := range b.sums {
			got, err := Look.Ask(ctx, s, name(i), struct{}{})
			if want := b.sums[i].Load(); err != nil || got.Amount != want {
				b.t.Errorf("%s: %s holds %d, want %d (%v)", when, name(i), got.Amount, want, err)
			}
		}
	}
}

func (c *cluster) senders() (all []entity.Sender) {
	for _, n := range c.nodes {
		if n != nil {
			all = append(all, n)
		}
	}
	return all
}

// Three nodes form a group and keep every confirmed deposit exactly, through the crash of a primary, its return, and a stop
// and restart of everything. A client outside sees the same.
func TestThreeNodes(t *testing.T) {
	c := newCluster(t, 3, entity.Types(accounts)...)
	b := &bank{t: t}
	c.start()
	c.ready()
	b.deposit(c.context(), 3, c.senders()...)
	b.check(c.context(), "after the first deposits", c.senders()...)

	_, err := Deposit.Ask(c.context(), c.nodes[0], name(0), Amount{-1})
	var refusal *shard.Error
	if !errors.As(err, &refusal) || refusal.Code != shard.CodeRefused || refusal.Detail != "amount must be positive" || refusal.Outcome != shard.NotApplied {
		t.Errorf("refusal came as %#v", err)
	}

	victim := c.owner("account", name(0))
	c.kill(victim)
	began := time.Now()
	b.deposit(c.context(), 1, c.senders()...)
	t.Logf("all accounts took deposits %s after the crash", time.Since(began).Round(time.Millisecond))
	b.check(c.context(), "after a crash", c.senders()...)

	c.start(victim)
	c.ready()
	b.deposit(c.context(), 1, c.senders()...)
	b.check(c.context(), "after the return", c.senders()...)

	c.each(c.shutdown)
	c.start()
	c.ready()
	b.check(c.context(), "after everything was restarted", c.senders()...)

	outside, err := client.Connect(c.context(), "127.0.0.1:1", c.nodes[1].Addr())
	if err != nil {
		t.Fatal(err)
	}
	defer outside.Close()
	b.deposit(c.context(), 1, outside)
	b.check(c.context(), "from a client", append(c.senders(), outside)...)
	c.each(c.shutdown)
}

var visits = entity.Define[int]("visit", entity.Shards(4), entity.Volatile())

var visited = entity.On(visits, "visited", func(n *int, _ struct{}) { *n++ })

var Visit = entity.Handle(visits, "visit", func(c *entity.Context[int], _ struct{}) (int, error) {
	visited.Record(c, struct{}{})
	return c.State(), nil
})

// A volatile entity lives on one node and starts anew on another when that node dies.
func TestVolatile(t *testing.T) {
	c := newCluster(t, 3, entity.Types(visits)...)
	c.start()
	c.ready()
	for want := 1; want <= 6; want++ {
		n, err := Visit.Ask(c.context(), c.nodes[want%3], "page", struct{}{})
		if err != nil || n != want {
			t.Fatalf("visit %d: %d, %v", want, n, err)
		}
	}
	victim := c.owner("visit", "page")
	c.kill(victim)
	if n, err := Visit.Ask(c.context(), c.nodes[(victim+1)%3], "page", struct{}{}); err != nil || n != 1 {
		t.Errorf("after the crash: %d, %v", n, err)
	}
}

// A node whose program says something else of a type than the group knows is refused, and the group does not mind.
func TestOtherOptionsAreRefused(t *testing.T) {
	c := newCluster(t, 1, entity.Types(visits)...)
	c.start()
	other := entity.Define[int]("visit", entity.Shards(8), entity.Volatile())
	_, err := node.Start(c.context(), node.Config{
		ID: "n2", Dir: t.TempDir(), Seeds: []string{c.nodes[0].Addr()}, Hosts: entity.Types(other), Logger: logger(t, "n2"),
	})
	if shard.CodeOf(err) != shard.CodeMismatch {
		t.Errorf("got %v", err)
	}
	if _, known := c.nodes[0].View().Members["n2"]; known {
		t.Error("the refused node became a member")
	}
	c.ready()
}

// A founding node that does not meet the others in time says whom it missed.
func TestFormationGivesUp(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeout(t.Context(), 700*time.Millisecond)
	defer cancel()
	l := listen(t)
	here := l.Addr().String()
	cfg := node.Config{ID: "n1", Addr: here, Listener: l, Dir: t.TempDir(), Seeds: []string{here, "127.0.0.1:1", "127.0.0.1:2"}}
	_, err := node.Start(ctx, cfg)
	if shard.CodeOf(err) != shard.CodeTimeout || !strings.Contains(err.Error(), "not reached: 127.0.0.1:1, 127.0.0.1:2") {
		t.Errorf("got %v", err)
	}
	cfg.Listener, cfg.Voters = nil, 2
	if _, err = node.Start(ctx, cfg); shard.CodeOf(err) != shard.CodeInvalid || !strings.Contains(err.Error(), "set voters to 1") {
		t.Errorf("got %v", err)
	}
	if l, err = net.Listen("tcp", here); err != nil {
		t.Fatalf("the port was left behind: %v", err)
	}
	defer l.Close()
	cfg.Voters = 0
	if _, err = node.Start(ctx, cfg); err == nil || !strings.Contains(err.Error(), "address already in use") {
		t.Errorf("got %v", err)
	}
}

// A start whose quorum is not met in time says so and leaves nothing behind: the same directory starts again at once.
func TestRequiredQuorumHoldsStart(t *testing.T) {
	t.Parallel()
	cfg := node.Config{ID: "n1", Dir: t.TempDir(), Hosts: entity.Types(visits), RequiredQuorum: 2, Logger: logger(t, "n1")}
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
	defer cancel()
	_, err := node.Start(ctx, cfg)
	if shard.CodeOf(err) != shard.CodeTimeout || !strings.Contains(err.Error(), "1 of 2 members are up") {
		t.Fatalf("got %v", err)
	}
	cfg.RequiredQuorum = 0
	c := &cluster{t: t, configs: []node.Config{cfg}, nodes: make([]*node.Node, 1)}
	t.Cleanup(func() { c.kill(0) })
	c.start()
	c.ready()
	if n, err := Visit.Ask(c.context(), c.nodes[0], "x", struct{}{}); err != nil || n != 1 {
		t.Errorf("%d, %v", n, err)
	}
	cfg.Addr = "127.0.0.1:0"
	if _, err := node.Start(c.context(), cfg); err == nil || !strings.Contains(err.Error(), "is used by process") {
		t.Errorf("two nodes on one directory: %v", err)
	}
}

// Parties of a barrier meet from nodes and clients; a wait that times out takes the arrival back.
func TestBarrierAndQuorum(t *testing.T) {
	c := newCluster(t, 3)
	c.start()
	outside, err := client.Connect(c.context(), c.nodes[2].Addr())
	if err != nil {
		t.Fatal(err)
	}
	defer outside.Close()

	short, cancel := context.WithTimeout(c.context(), time.Second)
	defer cancel()
	if _, err := c.nodes[0].Barrier(short, "go", 3, "early"); shard.CodeOf(err) != shard.CodeTimeout {
		t.Errorf("alone at the barrier: %v", err)
	}
	var wg sync.WaitGroup
	generations := make([]uint64, 3)
	arrive := func(i int, at interface {
		Barrier(context.Context, string, int, string) (outcome, error)
	}) {
		wg.Go(func() {
			o, err := at.Barrier(c.context(), "go", 3, fmt.Sprint("party-", i))
			if err != nil || len(o.Participants) != 3 {
				t.Errorf("party %d: %+v, %v", i, o, err)
			}
			generations[i] = uint64(o.Generation)
		})
	}
	arrive(0, c.nodes[0])
	arrive(1, c.nodes[1])
	arrive(2, outside)
	wg.Wait()
	if generations[0] != generations[1] || generations[1] != generations[2] {
		t.Errorf("generations %v", generations)
	}

	if err := c.nodes[1].SetRequiredQuorum(c.context(), 2); err != nil {
		t.Fatal(err)
	}
	gate, err := outside.RequiredQuorum(c.context())
	if err != nil || gate.Required != 2 || gate.Have != 3 || !gate.Met {
		t.Errorf("gate %+v, %v", gate, err)
	}
	if err := outside.SetRequiredQuorum(c.context(), 0); err != nil {
		t.Error(err)
	}
}

type outcome = barrier.Outcome
