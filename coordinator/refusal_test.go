package coordinator_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"muster/coordinator"
	"muster/shard"
	"muster/transport/wire"
)

// refused says that err has the code and that its text tells the operator all of the words.
func refused(t *testing.T, err error, code shard.Code, words ...string) {
	t.Helper()
	if fault := unlike(err, code, words...); fault != nil {
		t.Error(fault)
	}
}

// unlike says how err is not the refusal with the code and all of the words, nil when it is.
func unlike(err error, code shard.Code, words ...string) error {
	if shard.CodeOf(err) != code {
		return fmt.Errorf("%v, want %s", err, code)
	}
	for _, w := range words {
		if !strings.Contains(err.Error(), w) {
			return fmt.Errorf("%q does not say %q", err, w)
		}
	}
	return nil
}

// A configuration that cannot work is refused before anything is touched, with every fault at once.
func TestConfigurationIsRefused(t *testing.T) {
	g := newGroup(t, 4)
	n := g.nodes["n1"]
	for _, c := range []struct {
		what   string
		change func(*coordinator.Config)
		words  []string
	}{
		{"four seeds and no number of voters", func(*coordinator.Config) {}, []string{"voters = 4", "set voters to 3"}},
		{"even voters", func(c *coordinator.Config) { c.Voters = 2 }, []string{"voters = 2", "set voters to 1"}},
		{"too many", func(c *coordinator.Config) { c.Voters = 9 }, []string{"1, 3, 5 or 7"}},
		{"more voters than seeds", func(c *coordinator.Config) { c.Voters = 5 }, []string{"voters = 5 but 4 seeds"}},
		{"a lease that one lost renewal ends", func(c *coordinator.Config) { c.Times.Renew = time.Hour }, []string{"renew = 1h0m0s"}},
		{"two faults", func(c *coordinator.Config) { c.Voters, c.Node = 2, "n 1" }, []string{"voters = 2", `node id "n 1"`}},
		{"a type twice", func(c *coordinator.Config) { c.Voters = 3; c.Hosts = []shard.Spec{account, account} }, []string{"hosted twice"}},
	} {
		err := n.open(c.change)
		if err == nil {
			t.Errorf("%s: accepted", c.what)
			n.kill()
			continue
		}
		refused(t, err, shard.CodeInvalid, c.words...)
	}
}

// A data directory is one process's, private, and never guessed at.
func TestDirectoryIsRefused(t *testing.T) {
	path := filepath.Join(t.TempDir(), "data")
	first, err := coordinator.OpenDirectory(path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := coordinator.OpenDirectory(path); err == nil || !strings.Contains(err.Error(), "is used by process") {
		t.Errorf("a second process: %v", err)
	}
	id, machine := first.ID(), first.Machine()
	first.Close()
	again, err := coordinator.OpenDirectory(path)
	if err != nil || again.ID() != id || again.Machine() != machine {
		t.Fatalf("opened again: %v", err)
	}
	again.Close()

	moved := filepath.Join(t.TempDir(), "copy")
	if err := os.CopyFS(moved, os.DirFS(path)); err != nil {
		t.Fatal(err)
	}
	os.Chmod(moved, 0o700)
	replica, err := coordinator.OpenDirectory(moved)
	if err != nil || replica.ID() != id || replica.Machine() == machine {
		t.Errorf("a copied directory must not prove anything about the original: %v", err)
	}
	replica.Close()

	identity := filepath.Join(path, "identity.json")
	for _, c := range []struct {
		what, words string
		spoil       func() error
	}{
		{"open to others", "chmod 700", func() error { return os.Chmod(path, 0o755) }},
		{"damaged", "damaged", func() error { os.Chmod(path, 0o700); return os.WriteFile(identity, []byte(`{"format":1`), 0o600) }},
		{"newer", "newer than", func() error { return os.WriteFile(identity, []byte(`{"format":2,"directory":"x"}`), 0o600) }},
		{"without identity", "holds files but no", func() error {
			os.Remove(identity)
			return os.WriteFile(filepath.Join(path, "journal.db"), []byte("x"), 0o600)
		}},
	} {
		if err := c.spoil(); err != nil {
			t.Fatal(err)
		}
		if d, err := coordinator.OpenDirectory(path); err == nil || !strings.Contains(err.Error(), c.words) {
			t.Errorf("%s: %v", c.what, err)
			if err == nil {
				d.Close()
			}
		}
	}
}

// While a node lives, nobody with another data directory gets its id, and hears so.
func TestIDInUse(t *testing.T) {
	g := newGroup(t, 1)
	g.startAll()
	twin := &node{g: g, id: "n1", path: filepath.Join(g.root, "twin"), addr: freeAddr(t)}
	twin.copies = newCopies(twin)
	err := twin.start(func(c *coordinator.Config) { c.Times.Lease, c.Times.Renew = 300*time.Millisecond, 100*time.Millisecond })
	refused(t, err, shard.CodeInUse, "id n1 is in use by "+g.nodes["n1"].addr)

	other := g.nodes["n1"]
	other.stop()
	other.id = "n9"
	refused(t, other.start(func(c *coordinator.Config) { c.Seeds = nil }), shard.CodeInvalid, "belongs to node n1, not n9")
	other.id = "n1"
}

// A node that comes back with a shorter lease than it had, and cannot prove that its old process is gone, asks for as long as that one is waited for:
// three leases of its own may be over long before.
func TestShorterLeaseAwaitsTheLonger(t *testing.T) {
	g := newGroup(t, 1)
	g.startAll()
	n1, n2 := g.nodes["n1"], g.add("n2")
	if err := n2.start(func(c *coordinator.Config) { c.Times.Lease, c.Times.Renew = 3*time.Second, 100*time.Millisecond }); err != nil {
		t.Fatal(err)
	}
	g.eventually("its lease is in the log", func() error {
		if l, _ := coordinator.Said(n1.Coordinator, n2.Session()); l.Lease != 3*time.Second {
			return fmt.Errorf("it has said %s", l.Lease)
		}
		return nil
	})
	n2.kill()
	if err := os.RemoveAll(n2.path); err != nil {
		t.Fatal(err)
	}
	if err := n2.start(func(c *coordinator.Config) { c.Times.Lease, c.Times.Renew = 300*time.Millisecond, 50*time.Millisecond }); err != nil {
		t.Errorf("it was not waited for: %v", err)
	}
}

// A leader gathers renewals for no longer than the shortest lease among them can bear. A node with a lease that is short beside the leader's own would hear of
// none of its renewals in time, and have a session and no lease.
func TestShortLeaseIsRenewed(t *testing.T) {
	const short = 80 * time.Millisecond
	g := newGroup(t, 1)
	g.change = func(c *coordinator.Config) { c.Times.Lease = 4 * time.Second }
	g.startAll()
	n2 := g.add("n2")
	if err := n2.start(func(c *coordinator.Config) { c.Times.Lease, c.Times.Renew = short, short/5 }); err != nil {
		t.Fatal(err)
	}
	var at time.Duration
	g.eventually("it is registered", func() error {
		if at = n2.LeaseUntil(); at == 0 {
			return errors.New("it has no lease")
		}
		return nil
	})
	g.eventually("its lease is extended over and over", func() error {
		if until := n2.LeaseUntil(); until < at+10*short {
			return fmt.Errorf("it ended %s after that of the registration", until-at)
		}
		return nil
	})
}

// Two founding nodes under one id are told so, instead of forming a group that one of them is not in.
func TestTwoFoundersWithOneID(t *testing.T) {
	g := newGroup(t, 3)
	delete(g.nodes, "n3")
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	twin := &node{g: g, id: "n2", path: filepath.Join(g.root, "twin"), addr: g.seeds[2]}
	twin.copies = newCopies(twin)
	for _, n := range []*node{g.nodes["n1"], g.nodes["n2"], twin} {
		if err := n.open(nil); err != nil {
			t.Fatal(err)
		}
		defer n.kill()
	}
	refused(t, g.nodes["n1"].Start(ctx), shard.CodeInUse, "id n2 is in use by")
}

// A member of one group that is pointed at the seeds of another is refused there, whether its registration meets them first or
// its watch does.
func TestOtherGroupRefuses(t *testing.T) {
	g := newGroup(t, 1)
	g.startAll()
	other, m := g.add("b1"), g.add("m1")
	if err := other.start(func(c *coordinator.Config) { c.Seeds = nil }); err != nil {
		t.Fatal(err)
	}
	if err := m.start(nil); err != nil {
		t.Fatal(err)
	}
	m.stop()
	astray := func(c *coordinator.Config) { c.Seeds = []string{other.addr} }
	groups := []string{string(g.nodes["n1"].View().Group), string(other.View().Group)}
	refused(t, m.start(astray), shard.CodeWrongGroup, groups...)

	if err := m.open(astray); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	coordinator.WatchOnce(ctx, m.Coordinator)
	refused(t, m.Start(ctx), shard.CodeWrongGroup, groups...)
}

// A voter whose Raft log is gone must not vote again as itself. With an empty directory it comes back as a member.
func TestVoterLosesItsDisk(t *testing.T) {
	g := newGroup(t, 3, account)
	g.startAll()
	g.everyMap("every shard is active", active("account"))
	n := g.nodes["n3"]
	n.kill()
	if err := os.RemoveAll(filepath.Join(n.path, "raft")); err != nil {
		t.Fatal(err)
	}
	refused(t, n.start(nil), shard.CodeInvalid, "Raft log is gone", "empty directory")

	if err := os.RemoveAll(n.path); err != nil {
		t.Fatal(err)
	}
	if err := n.start(nil); err != nil {
		t.Fatal(err)
	}
	if n.Voter() {
		t.Error("it votes")
	}
	g.everyMap("all are up", up("n1", "n2", "n3"))
	g.everyMap("every shard is active", active("account"))
	for i, p := range g.nodes["n1"].View().Types["account"].Placements {
		for _, c := range p.Copies {
			if c.Node == "n3" && c.State != shard.CopyLost {
				t.Errorf("shard %d: the wiped node's copy is %s", i, c.State)
			}
		}
	}
}

// A founder accepts a Form only from the nodes it was told of, for itself, and of the size it expects.
func TestFormIsJudged(t *testing.T) {
	g := newGroup(t, 3)
	n := g.nodes["n1"]
	if err := n.open(nil); err != nil {
		t.Fatal(err)
	}
	self := &wire.Founder{Node: "n1", Addr: n.addr, Directory: string(n.DirectoryID())}
	founder := func(id, addr string) *wire.Founder { return &wire.Founder{Node: id, Addr: addr, Directory: "d-" + id} }
	for _, c := range []struct {
		what     string
		code     shard.Code
		founders []*wire.Founder
	}{
		{"without itself", shard.CodeMismatch, []*wire.Founder{founder("n0", g.seeds[0]), founder("n2", g.seeds[1]), founder("n3", g.seeds[2])}},
		{"a stranger", shard.CodeMismatch, []*wire.Founder{self, founder("n2", g.seeds[1]), founder("n3", "127.0.0.1:1")}},
		{"another size", shard.CodeMismatch, []*wire.Founder{self}},
		{"nobody", shard.CodeInvalid, nil},
	} {
		err := n.form("g", c.founders)
		if shard.CodeOf(err) != c.code {
			t.Errorf("%s: %v", c.what, err)
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	others := []*wire.Founder{founder("n0", g.seeds[1]), self, founder("n2", g.seeds[2])}
	reply, err := wire.NewGroupClient(n.port.Peer(n.addr)).Form(ctx, &wire.FormRequest{Group: "g", Founders: others})
	if err != nil || reply.Fault == nil || shard.Code(reply.Fault.Code) != shard.CodeInvalid {
		t.Errorf("from another than the first of the founders: %v, %v", reply, err)
	}
	if n.directory.Group() != "" {
		t.Errorf("a refused Form left group %s behind", n.directory.Group())
	}
}

func (n *node) form(group string, founders []*wire.Founder) error {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	return sendForm(ctx, n.addr, &wire.FormRequest{Group: group, Founders: founders})
}

// The forming is interrupted after everyone agreed and before the first wrote Raft's configuration. Started again, the
// nodes form the group they had agreed on, and another Form is refused.
func TestInterruptedForming(t *testing.T) {
	g := newGroup(t, 3)
	var founders []*wire.Founder
	for _, id := range []shard.NodeID{"n1", "n2", "n3"} {
		n := g.nodes[id]
		if err := n.open(nil); err != nil {
			t.Fatal(err)
		}
		founders = append(founders, &wire.Founder{Node: string(id), Addr: n.addr, Directory: string(n.DirectoryID())})
	}
	const agreed = "0c6a8f0e-5f52-4a0e-8f5e-2f7f6f1f7a10"
	for range 2 { // the same Form again is harmless
		if err := coordinator.Agree(g.nodes["n1"].Coordinator, &wire.FormRequest{Group: agreed, Founders: founders}); err != nil {
			t.Fatal(err)
		}
		for _, n := range g.nodes {
			if err := n.form(agreed, founders); err != nil {
				t.Fatal(err)
			}
		}
	}
	refused(t, g.nodes["n2"].form("another", founders), shard.CodeWrongGroup)
	for _, n := range g.nodes {
		n.kill()
	}
	g.startAll()
	g.everyMap("all are up", up("n1", "n2", "n3"))
	if group := g.nodes["n2"].View().Group; group != agreed {
		t.Errorf("formed %s, agreed on %s", group, agreed)
	}
}

// A start that finds nobody gives up with its context and leaves nothing behind: later, with the others, it forms.
func TestStartGivesUp(t *testing.T) {
	g := newGroup(t, 3)
	n := g.nodes["n1"]
	if err := n.open(nil); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 200*time.Millisecond)
	defer cancel()
	err := n.Start(ctx)
	n.kill()
	refused(t, err, shard.CodeTimeout, g.seeds[1], g.seeds[2])
	g.startAll()
	g.everyMap("all are up", up("n1", "n2", "n3"))
}

// A node whose Raft store fails reports it and stops leading, though its process and its network live on.
func TestBrokenStoreStopsTheNode(t *testing.T) {
	g := newGroup(t, 3)
	g.startAll()
	broken := g.leader()
	coordinator.PoisonStore(broken.Coordinator, errors.New("the disk hangs"))
	<-broken.Failed()
	if err := broken.Err(); err == nil || !strings.Contains(err.Error(), "the disk hangs") {
		t.Errorf("it says %v", err)
	}
	g.eventually("the others have another leader while it still runs", func() error {
		for _, n := range g.nodes {
			if id, _, _ := n.Leader(); n != broken && (id == broken.id || id == "") {
				return fmt.Errorf("%s knows leader %q", n.id, id)
			}
		}
		return nil
	})
}

// The first founder makes no other list when it is started again without seeds, or with another number of voters: the others were told of so many, and it
// would begin the group alone.
func TestFirstFounderBeginsNothingAlone(t *testing.T) {
	for name, change := range map[string]func(*coordinator.Config){
		"without seeds":  func(cfg *coordinator.Config) { cfg.Seeds, cfg.Voters = nil, 0 },
		"with one voter": func(cfg *coordinator.Config) { cfg.Voters = 1 },
	} {
		t.Run(name, func(t *testing.T) {
			g := newGroup(t, 3)
			for _, n := range g.nodes {
				if err := n.open(nil); err != nil {
					t.Fatal(err)
				}
			}
			form := g.form()
			if err := coordinator.Agree(g.nodes["n1"].Coordinator, form); err != nil {
				t.Fatal(err)
			}
			for _, n := range g.nodes {
				if err := n.form(form.Group, form.Founders); err != nil {
					t.Fatal(err)
				}
			}
			for _, n := range g.nodes {
				n.kill()
			}
			n1 := g.nodes["n1"]
			if err := n1.open(change); err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithTimeout(context.Background(), 500*time.Millisecond)
			defer cancel()
			if err := n1.Start(ctx); err == nil {
				t.Error("it has begun the group")
			}
			n1.kill()
			g.startAll()
			g.voters("n1", "n2", "n3")
		})
	}
}
