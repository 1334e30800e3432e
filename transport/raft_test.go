package transport_test

import (
	"fmt"
	"io"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"

	"muster/shard"
	"muster/transport"
)

// A stream between two nodes of a group carries bytes both ways beside calls; Close of the layer leaves the calls alone.
func TestRaftStream(t *testing.T) {
	a, b := start(t, "a", "g1"), start(t, "b", "g1")
	near, err := a.RaftLayer().Dial(raft.ServerAddress(b.Addr()), patience)
	if err != nil {
		t.Fatal(err)
	}
	far, err := b.RaftLayer().Accept()
	if err != nil {
		t.Fatal(err)
	}
	go io.WriteString(near, "ping")
	got := make([]byte, 4)
	if _, err := io.ReadFull(far, got); err != nil || string(got) != "ping" {
		t.Fatalf("read %q, %v", got, err)
	}
	if s := b.Stats(); s.RaftStreams != 1 || s.Pending != 0 {
		t.Errorf("%+v", s)
	}
	b.RaftLayer().Close()
	if _, err := b.RaftLayer().Accept(); err == nil {
		t.Error("Accept after Close")
	}
	if _, err := readByte(near); !gone(err) {
		t.Errorf("the stream survived: %v", err)
	}
	if _, err := hello(t, a.Peer(b.Addr())); err != nil {
		t.Errorf("calls after the layer closed: %v", err)
	}
	near.Close()
	if s := a.Stats().RaftStreams + b.Stats().RaftStreams; s != 0 {
		t.Errorf("%d streams left", s)
	}
}

// Nodes of two groups, or of none, never exchange a word of Raft, and the dialer is told why.
func TestRaftStreamOfAnotherGroup(t *testing.T) {
	a, x, y := start(t, "a", "g1"), start(t, "x", "g2"), start(t, "y", "")
	for _, c := range []struct {
		from, to *node
		want     shard.Code
	}{{x, a, shard.CodeWrongGroup}, {a, x, shard.CodeWrongGroup}, {a, y, shard.CodeWrongGroup}, {y, a, shard.CodeInternal}} {
		_, err := c.from.RaftLayer().Dial(raft.ServerAddress(c.to.Addr()), patience)
		if err == nil || shard.CodeOf(err) != c.want {
			t.Errorf("%s to %s: %v, want %s", c.from.Node(), c.to.Node(), err, c.want)
		}
	}
}

// A voter is looked for where it is now, and another node at its address is not taken for it.
func TestRaftStreamFindsTheVoter(t *testing.T) {
	a, b, c := start(t, "a", "g1"), start(t, "b", "g1"), start(t, "c", "g1")
	at := map[raft.ServerAddress]*node{"b": b, "b-once": c}
	a.RaftLayer().Expect(func(to raft.ServerAddress) (string, string) { return at[to].Addr(), "b" })
	s, err := a.RaftLayer().Dial("b", patience)
	if err != nil {
		t.Fatal(err)
	}
	s.Close()
	if _, err := a.RaftLayer().Dial("b-once", patience); shard.CodeOf(err) != shard.CodeMoved {
		t.Errorf("another node at the address: %v", err)
	}
	b.RaftLayer().Name("b@another-directory")
	if _, err := a.RaftLayer().Dial("b", patience); shard.CodeOf(err) != shard.CodeMoved {
		t.Errorf("the same node with another directory: %v", err)
	}
}

// Cut takes the leadership from a node whose Raft would not give it up by itself: its streams break both ways, and
// another voter leads. Calls go on. Open takes it back.
func TestCutDeposesALeader(t *testing.T) {
	voters := make([]*voter, 3)
	var servers []raft.Server
	for i := range voters {
		voters[i] = newVoter(t, fmt.Sprintf("v%d", i))
		servers = append(servers, raft.Server{ID: voters[i].id, Address: raft.ServerAddress(voters[i].Addr())})
	}
	if err := voters[0].raft.BootstrapCluster(raft.Configuration{Servers: servers}).Error(); err != nil {
		t.Fatal(err)
	}
	ctx, first := deadline(t), leader(t, voters, "")
	for err := first.raft.Barrier(patience).Error(); err != nil; err = first.raft.Barrier(patience).Error() { // another one knows the configuration
		if ctx.Err() != nil {
			t.Fatal(err)
		}
		first = leader(t, voters, "") // on a busy machine the lead is soon lost
	}
	first.RaftLayer().Cut()
	second := leader(t, voters, first.id)
	if _, err := first.RaftLayer().Dial(raft.ServerAddress(second.Addr()), patience); err == nil {
		t.Error("a cut layer dials")
	}
	if _, err := second.RaftLayer().Dial(raft.ServerAddress(first.Addr()), patience); err == nil {
		t.Error("a cut layer accepts")
	}
	if _, err := hello(t, second.Peer(first.Addr())); err != nil {
		t.Errorf("calls to the cut node: %v", err)
	}
	first.RaftLayer().Open()
	c, err := second.RaftLayer().Dial(raft.ServerAddress(first.Addr()), patience)
	if err != nil {
		t.Fatalf("opened again: %v", err)
	}
	c.Close()
}

type voter struct {
	*node
	id   raft.ServerID
	raft *raft.Raft
	led  chan bool
}

func newVoter(t *testing.T, id string) *voter {
	v := &voter{node: start(t, shard.NodeID(id), "g1"), id: raft.ServerID(id), led: make(chan bool, 64)}
	log := hclog.NewNullLogger()
	network := raft.NewNetworkTransportWithConfig(&raft.NetworkTransportConfig{
		Stream: v.RaftLayer(), MaxPool: 2, MaxRPCsInFlight: 1, Timeout: 500 * time.Millisecond, Logger: log,
	})
	cfg := raft.DefaultConfig()
	cfg.LocalID, cfg.Logger, cfg.NotifyCh = v.id, log, v.led
	cfg.HeartbeatTimeout, cfg.ElectionTimeout, cfg.LeaderLeaseTimeout = 200*time.Millisecond, 200*time.Millisecond, 150*time.Millisecond
	store := raft.NewInmemStore()
	r, err := raft.NewRaft(cfg, &raft.MockFSM{}, store, store, raft.NewInmemSnapshotStore(), network)
	if err != nil {
		t.Fatal(err)
	}
	v.raft = r
	t.Cleanup(func() {
		if err := r.Shutdown().Error(); err != nil {
			t.Error(err)
		}
		network.Close()
	})
	return v
}

// leader waits until a voter other than the given one leads.
func leader(t *testing.T, voters []*voter, not raft.ServerID) *voter {
	t.Helper()
	poll := time.NewTicker(5 * time.Millisecond)
	defer poll.Stop()
	limit := time.After(patience)
	for {
		for _, v := range voters {
			if v.id != not && v.raft.State() == raft.Leader {
				return v
			}
		}
		select {
		case <-poll.C:
		case <-limit:
			t.Fatalf("no leader but %q", not)
		}
	}
}

var _ raft.StreamLayer = (*transport.RaftLayer)(nil)
