package coordinator

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/peer"

	"muster/shard"
	"muster/transport"
	"muster/transport/wire"
)

const (
	helloTimeout = time.Second
	formTimeout  = 5 * time.Second
	formPause    = 100 * time.Millisecond // between two rounds of asking everyone
	formSayAfter = 5 * time.Second        // then the log says what is waited for, and again as often
)

// hello is what a seed said of itself.
type hello struct {
	addr      string // where it was reached
	node      shard.NodeID
	directory shard.DirectoryID
	group     shard.GroupID
	edition   uint64 // of the founders that it has agreed to
	hasRaft   bool
}

// enter settles which group this node belongs to and in what part, and returns when Raft runs if it is to run here.
//
// A directory that knows its group goes on in it. One that does not either takes part in forming a group, when its address
// is among the seeds and none of them is in a group yet, or joins the group that the seeds have.
func (c *Coordinator) enter(ctx context.Context) error {
	d := c.cfg.Directory
	if d.Group() != "" {
		c.cfg.Port.SetGroup(d.Group())
		return c.resume(ctx)
	}
	if len(c.cfg.Seeds) == 0 {
		return c.form(ctx, []Founder{c.self()})
	}
	return c.converse(ctx)
}

func (c *Coordinator) self() Founder {
	return Founder{c.cfg.Node, c.cfg.Addr, c.cfg.Directory.ID()}
}

// resume goes on in the group that the directory belongs to.
func (c *Coordinator) resume(ctx context.Context) error {
	d := c.cfg.Directory
	if !d.seated() {
		c.sitOut()
		return nil
	}
	if err := c.openVoter(); err != nil {
		return err
	}
	v := c.voter.Load()
	switch formed, err := v.store.formed(); {
	case err != nil:
		return err
	case formed == "":
		return shard.Invalid("data directory %s has a vote in group %s, but its Raft log is gone. It must not vote again "+
			"under the same identity: start the node with an empty directory, and it joins as a member", d.path, d.Group())
	case formed != d.Group():
		return shard.Invalid("data directory %s belongs to group %s, its Raft log to group %s", d.path, d.Group(), formed)
	}
	founders := d.now.Load().Founders
	if len(founders) > 0 && founders[0].Directory == d.ID() {
		return c.form(ctx, founders) // a founding that may have been interrupted; done before, it is harmless
	}
	return c.startVoter(v)
}

// converse asks the seeds who they are until the answers say what to do.
func (c *Coordinator) converse(ctx context.Context) error {
	said := time.Now()
	var unreached []string // in the last round that was not cut short
	for {
		if c.cfg.Directory.Group() != "" { // a Form came in meanwhile
			return c.resume(ctx)
		}
		heard, missing := c.askSeeds(ctx)
		if unreached == nil || ctx.Err() == nil {
			unreached = missing
		}
		done, err := c.judge(ctx, heard, missing)
		if done || err != nil {
			return err
		}
		if time.Since(said) > formSayAfter {
			said = time.Now()
			c.log.Info("waiting to form or find a group", "missing", strings.Join(missing, ", "), "heard", describe(heard))
		}
		select {
		case <-ctx.Done():
			return shard.Errorf(shard.CodeTimeout, "no group was formed or found in time; not reached: %s", cmp.Or(strings.Join(unreached, ", "), "none"))
		case <-c.formation.accepted: // a Form came in
		case <-time.After(formPause):
		}
	}
}

// judge decides on one round of answers. It returns done false when more answers are needed.
func (c *Coordinator) judge(ctx context.Context, heard []hello, missing []string) (done bool, err error) {
	running := slices.DeleteFunc(slices.Clone(heard), func(h hello) bool { return h.group == "" || !h.hasRaft })
	if i := slices.IndexFunc(running, func(h hello) bool { return h.group != running[0].group }); i > 0 {
		return true, shard.Errorf(shard.CodeWrongGroup, "seed %s belongs to group %s, seed %s to group %s: name the seeds of one group",
			running[0].addr, running[0].group, running[i].addr, running[i].group)
	}
	if len(running) > 0 {
		// Founders have Raft state only after all of them agreed, so whoever is not in yet was not one of them.
		return true, c.join(ctx, running[0])
	}
	if !c.cfg.founding() {
		return false, nil
	}
	if err := c.unique(heard); err != nil {
		return true, err
	}
	others := slices.DeleteFunc(distinct(c.cfg.Seeds), func(a string) bool { return a == c.cfg.Addr })
	if len(missing) > 0 || len(heard) < len(others) {
		return false, nil
	}
	founders := []Founder{c.self()}
	for _, h := range heard {
		founders = append(founders, Founder{h.node, h.addr, h.directory})
	}
	slices.SortFunc(founders, func(a, b Founder) int { return cmp.Compare(a.Node, b.Node) })
	founders = founders[:c.cfg.Voters]
	pending := slices.ContainsFunc(heard, func(h hello) bool { return h.group != "" })
	if pending || founders[0] != c.self() {
		return false, nil // another one leads the forming, and has begun or will
	}
	return true, c.form(ctx, founders)
}

// describe lists what the seeds said, for the log.
func describe(heard []hello) string {
	words := make([]string, len(heard))
	for i, h := range heard {
		words[i] = fmt.Sprintf("%s at %s (group %s)", h.node, h.addr, cmp.Or(string(h.group), "none"))
	}
	return strings.Join(words, ", ")
}

// unique refuses two founding nodes under one name.
func (c *Coordinator) unique(heard []hello) error {
	seen := map[shard.NodeID]string{c.cfg.Node: c.cfg.Addr}
	for _, h := range heard {
		if at, twice := seen[h.node]; twice {
			return shard.Errorf(shard.CodeInUse, "id %s is in use by %s and by %s: every node needs an id of its own", h.node, at, h.addr)
		}
		seen[h.node] = h.addr
	}
	return nil
}

// sitOut refuses Raft's streams on a member without a vote. An old configuration of the group may still name it, and a stream
// that nobody reads would hold the caller until its timeout.
func (c *Coordinator) sitOut() { c.cfg.Port.RaftLayer().Cut() }

// join becomes a member, without a vote, of the group a seed belongs to, unless this node has agreed to form it: the last Form can
// come in after the seeds were asked and before one of them, which needed no more than that agreement, says that it runs Raft.
func (c *Coordinator) join(ctx context.Context, h hello) error {
	c.formation.judging.Lock()
	formed := c.cfg.Directory.Group() != ""
	if !formed {
		c.formation.joined = h.group
	}
	c.formation.judging.Unlock()
	if formed {
		return c.resume(ctx)
	}
	c.cfg.Port.SetGroup(h.group)
	c.sitOut()
	if c.cfg.founding() {
		c.log.Warn("the group was formed without this node: it joins as a member without a vote", "group", h.group, "seed", h.addr)
	}
	return nil
}

// askSeeds says Hello to every other seed at once. One whose certificate does not name the node that it says it is has not been heard: it would be
// a founder, or the word that there is a group.
func (c *Coordinator) askSeeds(ctx context.Context) (heard []hello, missing []string) {
	type answer struct {
		hello hello
		err   error
	}
	others := slices.DeleteFunc(distinct(append(slices.Clone(c.cfg.Seeds), c.cfg.Directory.peers()...)), func(a string) bool { return a == c.cfg.Addr })
	answers := make(chan answer, len(others))
	for _, addr := range others {
		go func() { // joined by the loop below
			h, err := c.sayHello(ctx, addr)
			answers <- answer{h, err}
		}()
	}
	for range others {
		switch a := <-answers; {
		case a.err == nil:
			heard = append(heard, a.hello)
		case shard.CodeOf(a.err) == shard.CodeWrongGroup:
			missing = append(missing, fmt.Sprintf("%s (%s)", a.hello.addr, shard.As(a.err).Detail))
		default:
			missing = append(missing, a.hello.addr)
		}
	}
	slices.SortFunc(heard, func(a, b hello) int { return cmp.Compare(a.addr, b.addr) })
	slices.Sort(missing)
	return heard, missing
}

func (c *Coordinator) sayHello(ctx context.Context, addr string) (hello, error) {
	ctx, cancel := context.WithTimeout(ctx, helloTimeout)
	defer cancel()
	var who peer.Peer
	r, err := wire.NewGroupClient(c.cfg.Port.Peer(addr)).Hello(ctx, &wire.HelloRequest{}, grpc.Peer(&who))
	if err == nil {
		err = transport.Vouched(&who, shard.NodeID(r.Node))
	}
	if err != nil {
		return hello{addr: addr}, transport.Typed(err)
	}
	return hello{addr, shard.NodeID(r.Node), shard.DirectoryID(r.Directory), shard.GroupID(r.Group), r.Edition, r.HasRaft}, nil
}

// form leads the forming of a group. Every founder, this one first, makes the group's identity durable before any Raft state
// exists; only then this one, the lowest, bootstraps. Interrupted anywhere, it is repeated with the same identity.
func (c *Coordinator) form(ctx context.Context, founders []Founder) error {
	d := c.cfg.Directory
	group := d.Group()
	if group == "" {
		group = mintGroup()
	}
	if err := c.accept(group, founders, d.now.Load().Edition); err != nil {
		return err
	}
	v := c.voter.Load()
	has, err := v.hasLog()
	if err != nil {
		return err
	}
	if !has {
		if founders, err = c.gatherFounders(ctx, founders); err != nil {
			return err
		}
		if err := c.bootstrap(v, founders); err != nil {
			return err
		}
		c.log.Info("group formed", "group", group, "voters", len(founders))
	}
	return c.startVoter(v)
}

// notFormed says what may be done while this node, which alone begins the group, has not begun it.
const notFormed = "the group is not formed yet and holds nothing: when that node does not come back, start one with an empty directory at its address, " +
	"or all founding nodes with empty directories"

// begins returns the founder that this node waits for to begin their group, as far as it knows.
func (c *Coordinator) begins() (first Founder, waits bool) {
	founders, v := c.cfg.Directory.now.Load().Founders, c.voter.Load()
	if len(founders) == 0 || v == nil {
		return Founder{}, false
	}
	has, err := v.hasLog()
	return founders[0], err == nil && !has && founders[0] != c.self()
}

// gatherFounders repeats Form until all the others have agreed to one list of founders, which it returns. That one of them agrees to something else is
// final, when all seeds have answered and there is no other list; that it could not agree, being stopped for instance, is not.
func (c *Coordinator) gatherFounders(ctx context.Context, founders []Founder) (agreed []Founder, err error) {
	said := time.Now()
	for {
		list, lacks, err := c.refound(ctx, founders)
		if err != nil {
			return nil, err
		}
		founders = list
		f, err := c.askFounders(ctx, founders[1:])
		switch {
		case err == nil:
			return founders, nil
		case lacks == "" && slices.Contains([]shard.Code{shard.CodeWrongGroup, shard.CodeMismatch, shard.CodeInvalid}, shard.CodeOf(err)):
			return nil, fmt.Errorf("form the group with %s at %s: %w; %s", f.Node, f.Addr, err, notFormed)
		}
		if time.Since(said) > formSayAfter {
			said = time.Now()
			c.log.Info("a founder has not agreed, "+notFormed, "node", f.Node, "addr", f.Addr, "error", err, "no other founders", lacks)
		}
		select {
		case <-ctx.Done():
			return nil, shard.Errorf(shard.CodeTimeout, "form the group: %s at %s did not agree: %v; %s", f.Node, f.Addr, err, notFormed)
		case <-time.After(formPause):
		}
	}
}

// askFounders sends Form to each, and returns the first that did not agree, and why.
func (c *Coordinator) askFounders(ctx context.Context, founders []Founder) (Founder, error) {
	for _, f := range founders {
		if err := c.sendForm(ctx, f); err != nil {
			return f, err
		}
	}
	return Founder{}, nil
}

func (c *Coordinator) sendForm(ctx context.Context, f Founder) error {
	ctx, cancel := context.WithTimeout(ctx, formTimeout)
	defer cancel()
	id := c.cfg.Directory.now.Load()
	req := &wire.FormRequest{Group: string(id.Group), Edition: id.Edition}
	for _, f := range id.Founders {
		req.Founders = append(req.Founders, &wire.Founder{Node: string(f.Node), Addr: f.Addr, Directory: string(f.Directory)})
	}
	var who peer.Peer
	reply, err := wire.NewGroupClient(c.cfg.Port.Peer(f.Addr)).Form(ctx, req, grpc.Peer(&who))
	if err != nil {
		return transport.Typed(err)
	}
	if reply.Fault != nil {
		return transport.ErrorOf(reply.Fault)
	}
	return transport.Vouched(&who, f.Node)
}

// accept makes this directory a founder of the group: first in the Raft store, then in its identity, so that an identity
// never claims a vote its store cannot vouch for.
func (c *Coordinator) accept(group shard.GroupID, founders []Founder, edition uint64) error {
	c.formation.judging.Lock()
	defer c.formation.judging.Unlock()
	d := c.cfg.Directory
	if known := d.now.Load(); known.Group != "" {
		if known.agreed(group, founders, edition) {
			return nil
		}
		if err := c.replaces(known, group, founders, edition); err != nil {
			return err
		}
		return d.form(group, founders, edition)
	}
	if joined := c.formation.joined; joined != "" {
		return shard.Errorf(shard.CodeWrongGroup, "node %s is joining group %s already", c.cfg.Node, joined)
	}
	if err := c.openVoter(); err != nil {
		return err
	}
	if err := c.agree(c.voter.Load(), group, founders, edition); err != nil {
		c.dropVoter() // or no seat could be taken here, in whatever group this node comes to
		return err
	}
	c.cfg.Port.SetGroup(group)
	return nil
}

func (c *Coordinator) agree(v *voter, group shard.GroupID, founders []Founder, edition uint64) error {
	has, err := v.hasLog()
	switch {
	case err != nil:
		return err
	case has:
		return shard.Errorf(shard.CodeWrongGroup, "node %s holds Raft state but knows no group: its identity was removed", c.cfg.Node)
	}
	if err := v.store.setFormed(group); err != nil {
		return err
	}
	return c.cfg.Directory.form(group, founders, edition)
}

// hello says who this node is.
func (c *Coordinator) hello() *wire.HelloReply {
	d := c.cfg.Directory
	id := d.now.Load()
	reply := &wire.HelloReply{
		Node: string(c.cfg.Node), Directory: string(d.ID()), Group: string(id.Group), Addr: c.cfg.Addr, Version: c.cfg.Version, Edition: id.Edition,
	}
	if v := c.voter.Load(); v != nil {
		reply.HasRaft, _ = v.hasLog()
	} else {
		reply.HasRaft = id.Group != "" && !d.seated() // a member: its group exists; a founder has not looked yet
	}
	return reply
}
