package node_test

import (
	"errors"
	"fmt"
	"os"
	"testing"
	"time"

	"muster/client"
	"muster/entity"
	"muster/shard"
)

// unclean is a group of one voter and two members that hold copies of its shards. Losing the members costs no Raft quorum.
func unclean(t *testing.T) (*cluster, *client.Client) {
	c := newCluster(t, 3, entity.Types(accounts)...)
	for i := range c.configs {
		c.configs[i].Voters, c.configs[i].Seeds = 1, c.configs[0].Seeds[:1]
		c.configs[i].Tuning.Times.Autonomy = time.Second
	}
	c.start()
	c.ready()
	cl, err := client.Open(t.Context(), client.Config{Addrs: []string{c.configs[0].Addr}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cl.Close() })
	return c, cl
}

// wipe takes a node down and its data away.
func (c *cluster) wipe(i int) {
	c.t.Helper()
	c.kill(i)
	if err := os.RemoveAll(c.configs[i].Dir); err != nil {
		c.t.Fatal(err)
	}
}

// led names an account of a shard that the node leads.
func (c *cluster) led(i int) (entity.ID, shard.ID) {
	c.t.Helper()
	for k := range 1000 {
		name := entity.ID(fmt.Sprintf("a%d", k))
		if c.owner("account", name) == i {
			id, _ := c.nodes[i].View().Locate("account", name)
			return name, id
		}
	}
	c.t.Fatalf("node %d leads nothing", i+1)
	return "", shard.ID{}
}

// await looks at a shard until it is as it should be.
func (c *cluster) await(id shard.ID, what string, is func(*shard.Placement) bool) *shard.Placement {
	c.t.Helper()
	began := time.Now()
	for {
		p := c.nodes[0].View().Placement(id)
		if p != nil && is(p) {
			return p
		}
		if time.Since(began) > patience {
			c.t.Fatalf("%s: %s, it is %+v", id, what, p)
		}
		<-time.After(20 * time.Millisecond)
	}
}

// Two of three directories are lost under min_acks = 1, and with them the primary. The shard waits, and says for whom; nothing
// brings it back but an operator who has seen the evidence. Then the surviving copy goes on with all it had, the write quorum
// is back as soon as another copy has joined, and the history tells what happened.
func TestRecoverFromTooManyLosses(t *testing.T) {
	c, cl := unclean(t)
	who, id := c.led(1)
	for range 5 {
		if _, err := Deposit.Ask(c.context(), c.nodes[1], who, Amount{1}); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := cl.Recover(c.context(), id, c.evidence(cl, id, func(client.Evidence) bool { return true })); shard.CodeOf(err) != shard.CodeConflict {
		t.Errorf("recover of a shard that is served: %v", err)
	}
	survivor, _ := c.await(id, "a copy on n1", func(*shard.Placement) bool { return true }).CopyOn(directory(c, 0))
	c.wipe(1)
	c.wipe(2)
	c.await(id, "it has no primary", func(p *shard.Placement) bool { return p.Status == shard.Recovering })
	c.start(1)
	c.start(2)
	e := c.evidence(cl, id, func(e client.Evidence) bool { return e.Chosen != 0 && e.Reason == "" })
	if e.Chosen != survivor.ID || e.Whole || e.Base.LSN < 5 {
		t.Errorf("the evidence is %+v, copy %d survives", e, survivor.ID)
	}
	t.Logf("%+v", c.recover(cl, id, e))
	got, err := Look.Ask(c.context(), c.nodes[2], who, struct{}{})
	if err != nil || got.Amount != 5 {
		t.Errorf("the survivor's records: %+v, %v", got, err)
	}
	p := c.await(id, "it writes to two copies again", func(p *shard.Placement) bool { return p.WriteQuorum == 2 && len(p.Copies) == 3 })
	if len(p.Aside) != 2 {
		t.Errorf("%+v is kept aside", p.Aside)
	}
	if again, err := cl.Recover(c.context(), id, e); err != nil || again.Stage != "done" {
		t.Errorf("the same again: %+v, %v", again, err)
	}
	changes, err := cl.History(c.context(), id)
	if err != nil {
		t.Fatal(err)
	}
	told := false
	for _, one := range changes {
		told = told || one.Cause == shard.CauseUnclean && one.Base == e.Base && len(one.Copies) == 1 && one.Copies[0].Copy == survivor.ID
	}
	if !told {
		t.Errorf("the history does not tell: %+v", changes)
	}
	if _, err := Deposit.Ask(c.context(), c.nodes[1], who, Amount{1}); err != nil {
		t.Errorf("a deposit after the recovery: %v", err)
	}
}

// A directory that is put back to what it was yesterday holds copies that look as good as any. The group knows that a later session was
// stored in it, so its copies are given up and made anew, and nothing of what was confirmed since is lost.
func TestDirectoryIsSetBack(t *testing.T) {
	c, _ := unclean(t)
	who, id := c.led(1)
	deposit := func(times int) {
		for range times {
			if _, err := Deposit.Ask(c.context(), c.nodes[0], who, Amount{1}); err != nil {
				t.Fatal(err)
			}
		}
	}
	deposit(3)
	c.kill(2)
	yesterday := t.TempDir()
	if err := os.CopyFS(yesterday, os.DirFS(c.configs[2].Dir)); err != nil {
		t.Fatal(err)
	}
	c.start(2)
	deposit(4)
	old, _ := c.await(id, "a copy on n3", func(*shard.Placement) bool { return true }).CopyOn(directory(c, 2))
	c.wipe(2)
	if err := errors.Join(os.CopyFS(c.configs[2].Dir, os.DirFS(yesterday)), os.Chmod(c.configs[2].Dir, 0o700)); err != nil {
		t.Fatal(err)
	}
	c.start(2)
	p := c.await(id, "n3 has another copy", func(p *shard.Placement) bool {
		now, there := p.CopyOn(directory(c, 2))
		return there && now.ID != old.ID && len(p.Copies) == 3 && p.WriteQuorum == 2
	})
	c.kill(1)
	c.await(id, "it is served without n2", func(now *shard.Placement) bool { return now.Status == shard.Active && now.Epoch > p.Epoch })
	if got, err := Look.Ask(c.context(), c.nodes[0], who, struct{}{}); err != nil || got.Amount != 7 {
		t.Errorf("after all that: %+v, %v", got, err)
	}
}

// Copies that come back after their shard went on without them are kept whole beside the new ones, until they are discarded.
func TestReturningCopyIsKeptAside(t *testing.T) {
	c, cl := unclean(t)
	who, id := c.led(1)
	if _, err := Deposit.Ask(c.context(), c.nodes[1], who, Amount{1}); err != nil {
		t.Fatal(err)
	}
	old, _ := c.await(id, "a copy on n2", func(*shard.Placement) bool { return true }).CopyOn(directory(c, 1))
	c.kill(1)
	c.kill(2)
	c.await(id, "it has no primary", func(p *shard.Placement) bool { return p.Status == shard.Recovering })
	c.recover(cl, id, c.evidence(cl, id, func(e client.Evidence) bool { return e.Chosen != 0 && e.Reason == "" && e.Quiet > 0 }))
	if _, err := Deposit.Ask(c.context(), c.nodes[0], who, Amount{10}); err != nil {
		t.Fatal(err)
	}
	c.start(1)
	c.await(id, "n2 has a new copy", func(p *shard.Placement) bool { return len(p.Copies) == 2 && p.WriteQuorum == 2 })
	roles := func() map[shard.CopyID]client.Hosted {
		s, err := client.Open(t.Context(), client.Config{Addrs: []string{c.configs[1].Addr}})
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		state, err := s.Inspect(c.context())
		if err != nil {
			t.Fatal(err)
		}
		found := map[shard.CopyID]client.Hosted{}
		for _, h := range state.Hosted {
			if h.Shard == id {
				found[h.Copy] = h
			}
		}
		return found
	}
	if have := roles(); len(have) != 2 || have[old.ID].Role != "aside" {
		t.Errorf("n2 holds %+v", have)
	}
	if _, err := cl.Discard(c.context(), id, old.ID); err != nil {
		t.Fatal(err)
	}
	c.await(id, "it is discarded", func(p *shard.Placement) bool { return len(p.Aside) == 1 })
	for began := time.Now(); len(roles()) != 1; <-time.After(20 * time.Millisecond) {
		if time.Since(began) > patience {
			t.Fatalf("n2 still holds %+v", roles())
		}
	}
	if got, err := Look.Ask(c.context(), c.nodes[1], who, struct{}{}); err != nil || got.Amount != 11 {
		t.Errorf("after all: %+v, %v", got, err)
	}
}

func directory(c *cluster, i int) shard.DirectoryID {
	return c.nodes[0].View().Members[c.configs[i].ID].Directory
}

// evidence asks until it is as it should be.
func (c *cluster) evidence(cl *client.Client, id shard.ID, is func(client.Evidence) bool) client.Evidence {
	c.t.Helper()
	began := time.Now()
	for {
		e, err := cl.Evidence(c.context(), id)
		if err == nil && is(e) {
			return e
		}
		if time.Since(began) > patience {
			c.t.Fatalf("the evidence is %+v, %v", e, err)
		}
		<-time.After(20 * time.Millisecond)
	}
}

// recover accepts the loss and waits until the shard is served.
func (c *cluster) recover(cl *client.Client, id shard.ID, accepted client.Evidence) client.Done {
	c.t.Helper()
	began := time.Now()
	for {
		done, err := cl.Recover(c.context(), id, accepted)
		if err == nil && done.Stage == "done" {
			return done
		}
		if err != nil || time.Since(began) > patience {
			c.t.Fatalf("recover %s: %+v, %v", id, done, err)
		}
		<-time.After(50 * time.Millisecond)
	}
}

// Both replicas' nodes are down for longer than anyone wants to wait, and the primary is there: it confirms nothing until an
// operator allows it to do so alone. When a replica is back the write quorum is what it was, and nothing is allowed any more.
func TestDegradeAndBack(t *testing.T) {
	c, cl := unclean(t)
	who, id := c.led(0)
	if _, err := Deposit.Ask(c.context(), c.nodes[0], who, Amount{1}); err != nil {
		t.Fatal(err)
	}
	c.kill(1)
	c.kill(2)
	waits := make(chan error, 1)
	go func() {
		_, err := Deposit.Ask(c.context(), c.nodes[0], who, Amount{1})
		waits <- err
	}()
	c.await(id, "n2 and n3 are down", func(*shard.Placement) bool {
		v := c.nodes[0].View()
		return !v.Up("n2") && !v.Up("n3")
	})
	if err := <-waits; shard.As(err).Outcome != shard.Unknown {
		t.Errorf("a deposit that one copy holds: %v", err)
	}
	if _, err := cl.Degrade(c.context(), id, 1); err != nil {
		t.Fatal(err)
	}
	c.await(id, "it writes to one copy", func(p *shard.Placement) bool { return p.WriteQuorum == 1 && len(p.Copies) == 1 })
	if _, err := Deposit.Ask(c.context(), c.nodes[0], who, Amount{1}); err != nil {
		t.Errorf("a deposit into the degraded shard: %v", err)
	}
	c.start(1)
	c.await(id, "it writes to two copies", func(p *shard.Placement) bool {
		return p.WriteQuorum == 2 && len(p.Copies) == 2 && p.Floor == 0
	})
	if got, err := Look.Ask(c.context(), c.nodes[1], who, struct{}{}); err != nil || got.Amount != 3 {
		t.Errorf("after all: %+v, %v", got, err)
	}
}
