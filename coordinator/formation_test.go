package coordinator_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"

	"muster/coordinator"
	"muster/shard"
	"muster/transport"
	"muster/transport/wire"
)

// founder is a founding node that leads the forming of a group: it sends its Form while it is asked who it is, if at all, and answers that it runs
// Raft, as one does that had to hear of nobody else.
type founder struct {
	wire.UnimplementedGroupServer
	node string
	to   string            // empty: there is no Form
	form *wire.FormRequest // sent once
	sent atomic.Bool
}

func (f *founder) Hello(ctx context.Context, _ *wire.HelloRequest) (*wire.HelloReply, error) {
	if f.to != "" && f.sent.CompareAndSwap(false, true) { // it is asked once more, for what it sends
		if err := sendForm(ctx, f.to, f.form); err != nil {
			return nil, err
		}
	}
	return &wire.HelloReply{Node: f.node, Directory: "dir-" + f.node, Group: f.form.Group, HasRaft: true}, nil
}

// avower is a first founder that says what its Form says, and sends none.
type avower struct {
	wire.UnimplementedGroupServer
	form atomic.Pointer[wire.FormRequest]
}

// avow has a first founder say what the Form says, at the address that it has there. Stop takes it away.
func avow(t *testing.T, form *wire.FormRequest) (a *avower, stop func()) {
	t.Helper()
	a = &avower{}
	a.form.Store(form)
	first := form.Founders[0]
	return a, serveGroup(t, shard.NodeID(first.Node), first.Addr, a)
}

func (a *avower) Hello(context.Context, *wire.HelloRequest) (*wire.HelloReply, error) {
	form := a.form.Load()
	first := form.Founders[0]
	return &wire.HelloReply{Node: first.Node, Directory: first.Directory, Group: form.Group, Addr: first.Addr, Edition: form.Edition}, nil
}

func sendForm(ctx context.Context, to string, form *wire.FormRequest) error {
	conn, err := grpc.NewClient(to, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return err
	}
	defer conn.Close()
	if len(form.Founders) > 0 {
		ctx = metadata.AppendToOutgoingContext(ctx, "muster-node", form.Founders[0].Node) // the first sends it
	}
	reply, err := wire.NewGroupClient(conn).Form(ctx, form)
	if err == nil && reply.Fault != nil {
		err = transport.ErrorOf(reply.Fault)
	}
	return err
}

// newcomer is n3, started as a founding node of three. The two others run Raft already; n1 sends n3 the Form when it is asked who it is, if it is to.
func newcomer(t *testing.T, g *group, sends bool) (*node, *wire.FormRequest) {
	t.Helper()
	n := g.add("n3")
	form := &wire.FormRequest{Group: "formed"}
	for _, id := range []shard.NodeID{"n1", "n2"} {
		f := &founder{node: string(id), form: form}
		if sends && id == "n1" {
			f.to = n.addr
		}
		addr := f.serve(t)
		g.seeds = append(g.seeds, addr)
		form.Founders = append(form.Founders, &wire.Founder{Node: f.node, Addr: addr, Directory: "dir-" + f.node})
	}
	g.seeds = append(g.seeds, n.addr)
	if err := n.open(nil); err != nil {
		t.Fatal(err)
	}
	form.Founders = append(form.Founders, &wire.Founder{Node: string(n.id), Addr: n.addr, Directory: string(n.directory.ID())})
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	var started sync.WaitGroup
	started.Go(func() { n.Start(ctx) }) // nobody leads that group: it ends with the context
	t.Cleanup(func() {
		cancel()
		started.Wait()
	})
	return n, form
}

// serve answers at the address it returns until the test ends.
func (f *founder) serve(t *testing.T) string {
	t.Helper()
	addr := freeAddr(t)
	serveGroup(t, shard.NodeID(f.node), addr, f)
	return addr
}

// serveGroup answers as a node at an address until the test ends, or stop is called.
func serveGroup(t *testing.T, node shard.NodeID, addr string, s wire.GroupServer) (stop func()) {
	t.Helper()
	return serveIn(t, "", node, addr, s)
}

// serveIn answers as a node of a group.
func serveIn(t *testing.T, group shard.GroupID, node shard.NodeID, addr string, s wire.GroupServer) (stop func()) {
	t.Helper()
	port, err := transport.Listen(transport.Config{Node: node, Bind: addr, Advertise: addr})
	if err != nil {
		t.Fatal(err)
	}
	if group != "" {
		port.SetGroup(group)
	}
	wire.RegisterGroupServer(port.Server(), s)
	var served sync.WaitGroup
	served.Go(func() { port.Serve() })
	stop = sync.OnceFunc(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		port.Close(ctx)
		served.Wait()
	})
	t.Cleanup(stop)
	return stop
}

// The last founder's agreement lets the first one run Raft, so that the last one, which asked who is there before it agreed, may hear of a group that
// runs already. It has a vote in it, and takes it: without it the group would survive one failure less until that node is started again.
func TestFormComesInAmongAnswers(t *testing.T) {
	g := newGroup(t, 0)
	n, _ := newcomer(t, g, true)
	g.eventually("n3 runs Raft", func() error {
		if !n.Voter() {
			return fmt.Errorf("it does not, and belongs to group %q", n.directory.Group())
		}
		return nil
	})
}

// A founding node that found a group formed without it joins that, and accepts no Form any more: it would run no Raft for it.
func TestJoiningNodeAcceptsNoForm(t *testing.T) {
	g := newGroup(t, 0)
	n, form := newcomer(t, g, false)
	g.eventually("n3 refuses a Form", func() error {
		if group := n.port.Group(); group != "formed" {
			return fmt.Errorf("it is in group %q", group)
		}
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		if err := sendForm(ctx, n.addr, form); shard.CodeOf(err) != shard.CodeWrongGroup {
			return fmt.Errorf("it answers %w", err)
		}
		return nil
	})
	if n.Voter() || n.directory.Group() != "" {
		t.Errorf("it runs Raft (%v), and its directory belongs to group %q", n.Voter(), n.directory.Group())
	}
}

// A node whose agreement to form a group does not get to its disk has agreed to nothing. It joins the group that is formed without it, and
// takes a seat there, in the same process or after it died in between.
func TestAgreementThatDidNotLastCostsNoSeat(t *testing.T) {
	for name, dies := range map[string]bool{"in the same process": false, "it dies": true} {
		t.Run(name, func(t *testing.T) {
			g := newGroup(t, 3)
			n := g.add("n4")
			founding := func(c *coordinator.Config) {
				hasty(c)
				c.Seeds, c.Voters = append(slices.Clone(g.seeds), n.addr), 3
			}
			if err := n.open(founding); err != nil {
				t.Fatal(err)
			}
			form := &wire.FormRequest{Group: "never formed"}
			for i, addr := range g.seeds[:2] {
				id := fmt.Sprintf("x%d", i)
				form.Founders = append(form.Founders, &wire.Founder{Node: id, Addr: addr, Directory: "dir-" + id})
			}
			form.Founders = append(form.Founders, &wire.Founder{Node: string(n.id), Addr: n.addr, Directory: string(n.directory.ID())})
			ctx, cancel := context.WithTimeout(context.Background(), patience)
			defer cancel()
			inTheWay := filepath.Join(n.path, "identity.json.new")
			if err := os.Mkdir(inTheWay, 0o700); err != nil {
				t.Fatal(err)
			}
			_, stop := avow(t, form)
			if err := sendForm(ctx, n.addr, form); shard.CodeOf(err) != shard.CodeInternal {
				t.Fatalf("the identity could not be written, and the Form was answered with %v", err)
			}
			stop()
			if err := os.Remove(inTheWay); err != nil {
				t.Fatal(err)
			}
			if dies {
				n.kill()
				if err := n.open(founding); err != nil {
					t.Fatal(err)
				}
			}
			g.nodes = map[shard.NodeID]*node{"n1": g.nodes["n1"], "n2": g.nodes["n2"], "n3": g.nodes["n3"]}
			g.startHastily()
			g.nodes[n.id] = n
			if err := n.Start(ctx); err != nil {
				t.Fatal(err)
			}
			g.voters("n1", "n2", "n3")
			lost, leads := g.follower(), g.leader()
			lost.kill()
			g.voters(leads.id, other(leads.id, lost.id), n.id)
		})
	}
}

// A node that is closed agrees to nothing any more: it would open a store that nobody closes.
func TestClosedNodeAcceptsNoForm(t *testing.T) {
	g := newGroup(t, 3)
	n := g.nodes["n3"]
	if err := n.open(nil); err != nil {
		t.Fatal(err)
	}
	form := g.form()
	avow(t, form)
	n.Kill()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := sendForm(ctx, n.addr, form); shard.CodeOf(err) != shard.CodeClosed {
		t.Errorf("it answers %v", err)
	}
	if n.directory.Group() != "" {
		t.Errorf("its directory belongs to group %q", n.directory.Group())
	}
}

// form is the Form of a group of the founding nodes, of which those that are not open are elsewhere.
func (g *group) form() *wire.FormRequest {
	form := &wire.FormRequest{Group: "formed"}
	for i, addr := range g.seeds {
		id, directory := shard.NodeID(fmt.Sprintf("n%d", i+1)), "elsewhere"
		if n := g.nodes[id]; n.directory != nil {
			directory = string(n.directory.ID())
		}
		form.Founders = append(form.Founders, &wire.Founder{Node: string(id), Addr: addr, Directory: directory})
	}
	return form
}

// A founder that has agreed, and comes back before the group is formed, does not say that it runs Raft, not even before it has looked. Another
// that has not agreed yet would take the group for formed without it, join that, and refuse the Form that it is lacking.
func TestFounderThatComesBackRunsNoRaft(t *testing.T) {
	g := newGroup(t, 3)
	n := g.nodes["n3"]
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := n.open(nil); err != nil {
		t.Fatal(err)
	}
	form := g.form()
	avow(t, form)
	if err := sendForm(ctx, n.addr, form); err != nil {
		t.Fatal(err)
	}
	n.kill()
	if err := n.open(nil); err != nil {
		t.Fatal(err)
	}
	conn, err := grpc.NewClient(n.addr, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	reply, err := wire.NewGroupClient(conn).Hello(ctx, &wire.HelloRequest{}, grpc.WaitForReady(true))
	if err != nil || reply.Group != "formed" || reply.HasRaft {
		t.Errorf("it answers %v, %v", reply, err)
	}
}

// Each founding node dies a few times while the group is formed, at any moment. When all are there the group is formed, with the vote of each.
func TestFoundersDieWhileTheGroupIsFormed(t *testing.T) {
	for seed := range uint64(6) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			g := newGroup(t, 3+2*int(seed%2))
			random := rand.New(rand.NewPCG(seed, 4))
			var all sync.WaitGroup
			var ids []shard.NodeID
			for id, n := range g.nodes {
				ids = append(ids, id)
				lives := make([]time.Duration, 1+random.IntN(4))
				for i := range lives {
					lives[i] = time.Duration(random.IntN(250)) * time.Millisecond
				}
				all.Go(func() {
					for _, l := range lives {
						n.live(l)
					}
				})
			}
			all.Wait()
			g.startAll()
			g.voters(ids...)
		})
	}
}

// live starts the node and kills it after so long, whether or not it has started by then.
func (n *node) live(d time.Duration) {
	if err := n.open(nil); err != nil {
		n.g.t.Errorf("open %s: %v", n.id, err)
		return
	}
	var started sync.WaitGroup
	started.Go(func() { n.Start(context.Background()) })
	<-time.After(d)
	n.Kill()
	started.Wait()
	n.kill()
}

// closing is a founding node that is being stopped when it first hears a Form, and agrees later.
type closing struct {
	wire.UnimplementedGroupServer
	asked atomic.Int32
}

func (*closing) Hello(context.Context, *wire.HelloRequest) (*wire.HelloReply, error) {
	return &wire.HelloReply{Node: "n3", Directory: "dir-n3"}, nil
}

func (c *closing) Form(context.Context, *wire.FormRequest) (*wire.FormReply, error) {
	if c.asked.Add(1) == 1 {
		return &wire.FormReply{Fault: transport.FaultOf(shard.Errorf(shard.CodeClosed, "this node is shutting down"))}, nil
	}
	return &wire.FormReply{}, nil
}

// A founder that is stopped and started again while the group is formed costs no more than the time that it takes.
func TestFounderThatClosesIsAskedAgain(t *testing.T) {
	g := newGroup(t, 2)
	addr := freeAddr(t)
	serveGroup(t, "n3", addr, new(closing))
	g.seeds = append(g.seeds, addr)
	g.startAll()
	g.leader()
}

// mute is a founding node that answers who it is, and no Form.
type mute struct {
	wire.UnimplementedGroupServer
}

func (mute) Hello(context.Context, *wire.HelloRequest) (*wire.HelloReply, error) {
	return &wire.HelloReply{Node: "n3", Directory: "dir-n3"}, nil
}

func (mute) Form(ctx context.Context, _ *wire.FormRequest) (*wire.FormReply, error) {
	<-ctx.Done()
	return nil, ctx.Err()
}

// lines are those that a node logs.
type lines struct {
	mu  sync.Mutex
	all strings.Builder
}

func (l *lines) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.all.Write(b)
}

func (l *lines) hold(words ...string) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	for line := range strings.Lines(l.all.String()) {
		if !slices.ContainsFunc(words, func(word string) bool { return !strings.Contains(line, word) }) {
			return nil
		}
	}
	return fmt.Errorf("none of its lines holds %q", words)
}

// A founder dies for good while the group is formed. The one that forms it says whom it waits for and what can be done, and one that has agreed
// says whom that waits for.
func TestFoundersSayWhomTheyWaitFor(t *testing.T) {
	g := newGroup(t, 2)
	addr := freeAddr(t)
	serveGroup(t, "n3", addr, mute{})
	g.seeds = append(g.seeds, addr)
	ctx, cancel := context.WithCancel(context.Background())
	var started sync.WaitGroup
	errs, said := map[shard.NodeID]*error{"n1": new(error), "n2": new(error)}, map[shard.NodeID]*lines{"n1": {}, "n2": {}}
	for id, n := range g.nodes {
		err := n.open(func(c *coordinator.Config) {
			c.Logger = hclog.New(&hclog.LoggerOptions{Level: hclog.Info, Output: said[id]})
		})
		if err != nil {
			t.Fatal(err)
		}
		started.Go(func() { *errs[id] = n.Start(ctx) })
	}
	g.eventually("n1 says that it waits for n3", func() error { return said["n1"].hold("has not agreed", "node=n3", addr, "empty directories") })
	g.eventually("n2 says that it waits for n1", func() error { return said["n2"].hold("has agreed", "founder=n1", g.nodes["n1"].addr) })
	cancel()
	started.Wait()
	if err := *errs["n1"]; shard.CodeOf(err) != shard.CodeTimeout || !strings.Contains(err.Error(), "empty directories") {
		t.Errorf("n1 ends with %v", err)
	}
}

// Seeds of two groups are a mistake of whoever starts the node: it joins neither.
func TestSeedsOfTwoGroups(t *testing.T) {
	g := newGroup(t, 0)
	for _, of := range []string{"one", "two"} {
		f := &founder{node: "in-" + of, form: &wire.FormRequest{Group: of}}
		g.seeds = append(g.seeds, f.serve(t))
	}
	n := g.add("n3")
	refused(t, n.start(nil), shard.CodeWrongGroup, "to group one", "to group two", "name the seeds of one group")
	if err := n.open(nil); err != nil {
		t.Fatal(err)
	}
	if group := n.directory.Group(); group != "" {
		t.Errorf("it is in group %q", group)
	}
}

// A node is stopped at the moment that Raft starts on it. The stopping waits for that, and ends it: Raft would run on over a store that is closed.
func TestRaftDoesNotOutliveANodeThatIsStopped(t *testing.T) {
	g := newGroup(t, 1)
	n := g.nodes["n1"]
	var stopping sync.WaitGroup
	var once sync.Once
	killed := make(chan struct{})
	log := hclog.New(&hclog.LoggerOptions{Level: hclog.Info, Output: writer(func(line string) {
		if !strings.Contains(line, "initial configuration") { // Raft says that right before it runs
			return
		}
		once.Do(func() {
			stopping.Go(func() {
				n.Kill()
				close(killed)
			})
			select {
			case <-killed:
			case <-time.After(200 * time.Millisecond): // it waits until Raft has started
			}
		})
	})})
	if err := n.open(func(c *coordinator.Config) { c.Logger = log }); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := n.Start(ctx); err == nil {
		t.Error("it has started")
	}
	stopping.Wait()
	select {
	case <-killed:
	default:
		t.Error("Raft did not say that it starts")
	}
	if coordinator.RaftRuns(n.Coordinator) {
		t.Error("Raft runs in a node that is stopped")
	}
}

// One founder is gone for good before it has agreed, after another has, and that one comes back at another address. The first makes the list of founders
// anew, the others take it, and the group begins under the id that they had agreed to, with the votes of those that are there.
func TestFoundersChangeBeforeTheGroupBegins(t *testing.T) {
	g := newGroup(t, 3)
	n1, n2, n3 := g.nodes["n1"], g.nodes["n2"], g.nodes["n3"]
	gone := serveGroup(t, "n3", n3.addr, mute{})
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	var started sync.WaitGroup
	for _, n := range []*node{n1, n2} {
		if err := n.open(nil); err != nil {
			t.Fatal(err)
		}
		started.Go(func() { n.Start(ctx) })
	}
	var agreed shard.GroupID
	g.eventually("n2 has agreed", func() error {
		if agreed = n2.directory.Group(); agreed == "" {
			return fmt.Errorf("it is in no group")
		}
		return nil
	})
	cancel()
	started.Wait()
	gone()
	n1.kill()
	n2.kill()
	n2.addr = freeAddr(t)
	g.seeds[1] = n2.addr
	g.startAll()
	g.voters("n1", "n2", "n3")
	if group := n1.View().Group; group != agreed {
		t.Errorf("formed %s, agreed on %s", group, agreed)
	}
	g.leader().kill()
	g.leader()
	g.works()
}

// A list of founders takes the place of an earlier one alone: not of one that came after it, nor at the word of another first founder, nor when the group
// has begun.
func TestFoundersAreReplacedInOrder(t *testing.T) {
	g := newGroup(t, 3)
	n := g.nodes["n3"]
	if err := n.open(nil); err != nil {
		t.Fatal(err)
	}
	first, _ := avow(t, g.form())
	send := func(edition uint64, change func(*wire.FormRequest)) error {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		form := g.form()
		form.Edition = edition
		change(form)
		first.form.Store(form)
		return sendForm(ctx, n.addr, form)
	}
	same := func(*wire.FormRequest) {}
	next := func(f *wire.FormRequest) { f.Founders[1].Directory = "another" }
	refused(t, send(0, same), "")
	refused(t, send(0, next), shard.CodeWrongGroup)
	refused(t, send(2, next), "")
	refused(t, send(2, next), "")
	refused(t, send(1, same), shard.CodeWrongGroup) // it comes late
	refused(t, send(3, same), "")
	refused(t, send(2, next), shard.CodeWrongGroup)
	refused(t, send(4, func(f *wire.FormRequest) { f.Founders[0].Directory = "another" }), shard.CodeWrongGroup)
	refused(t, send(4, func(f *wire.FormRequest) { f.Group = "another" }), shard.CodeWrongGroup)
	refused(t, send(4, func(f *wire.FormRequest) { f.Founders[1].Addr = "127.0.0.1:1" }), shard.CodeMismatch, "not among the seeds")
	n.kill()
	if err := n.open(nil); err != nil {
		t.Fatal(err)
	}
	refused(t, send(4, next), shard.CodeUnavailable) // whether the group has begun its store would tell
	refused(t, send(3, same), "")
}

// The first founder makes the lists, and takes none from anybody.
func TestFirstFounderTakesNoList(t *testing.T) {
	g := newGroup(t, 3)
	n := g.nodes["n1"]
	if err := n.open(nil); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	form := g.form()
	refused(t, sendForm(ctx, n.addr, form), shard.CodeInvalid, "makes the list itself")
	refused(t, coordinator.Agree(n.Coordinator, form), "")
	form.Edition = 1
	form.Founders[1].Directory = "another"
	refused(t, sendForm(ctx, n.addr, form), shard.CodeInvalid, "makes the list itself")
}

// When the group has begun no list of founders is taken any more.
func TestFoundersStayWhenTheGroupHasBegun(t *testing.T) {
	g := newGroup(t, 3)
	g.startAll()
	g.voters("n1", "n2", "n3")
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	form := g.form()
	form.Group, form.Edition = string(g.nodes["n1"].View().Group), 1
	refused(t, sendForm(ctx, g.nodes["n3"].addr, form), shard.CodeWrongGroup)
}

// A founder agrees to what the first one says when it is asked at its address, and not to a Form by itself: not to one in a name or in a directory that does not
// answer there, nor to a group or an edition that the first does not know of. Had it agreed to an edition above all that come, it would refuse the first
// founder's own lists for good. The group is formed all the same.
func TestFormsAreAvowed(t *testing.T) {
	g := newGroup(t, 3)
	n1, n3 := g.nodes["n1"], g.nodes["n3"]
	for _, n := range g.nodes {
		if err := n.open(nil); err != nil {
			t.Fatal(err)
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	forged := func(change func(*wire.FormRequest)) error {
		form := g.form()
		change(form)
		return sendForm(ctx, n3.addr, form)
	}
	for range 2 { // before n3 has agreed, and after
		refused(t, forged(func(f *wire.FormRequest) { f.Edition = 1 << 63 }), shard.CodeMismatch, "edition")
		if err := coordinator.Agree(n1.Coordinator, g.form()); err != nil {
			t.Fatal(err)
		}
		refused(t, forged(func(f *wire.FormRequest) { f.Edition = 1 << 63 }), shard.CodeMismatch, "edition 0, and not")
		refused(t, forged(func(f *wire.FormRequest) { f.Edition, f.Founders[1].Directory = 1, "another" }), shard.CodeMismatch, "edition 0, and not")
		refused(t, forged(func(*wire.FormRequest) {}), "")
	}
	for _, n := range g.nodes {
		n.kill()
	}
	g.startAll()
	g.voters("n1", "n2", "n3")
}

// A Form from a node that names itself the first founder, at the address of another, founds nothing, nor does one whose first founder is not reached: that comes again.
func TestFormsFromElsewhereAreNotAvowed(t *testing.T) {
	g := newGroup(t, 3)
	n1, n3 := g.nodes["n1"], g.nodes["n3"]
	if err := n3.open(nil); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	form := g.form()
	refused(t, sendForm(ctx, n3.addr, form), shard.CodeUnavailable, "n1, was not reached at "+n1.addr)
	_, stop := avow(t, form)
	other := g.form()
	g.eventually("n1 is reached", func() error {
		other.Group = "another"
		if err := sendForm(ctx, n3.addr, other); shard.CodeOf(err) != shard.CodeMismatch {
			return err
		}
		return nil
	})
	other = g.form()
	other.Founders[0].Node = "m1"
	refused(t, sendForm(ctx, n3.addr, other), shard.CodeMismatch, "node n1 answers")
	other = g.form()
	other.Founders[0].Directory = "a copy"
	refused(t, sendForm(ctx, n3.addr, other), shard.CodeMismatch, "with directory elsewhere")
	other = g.form()
	other.Group = "another"
	refused(t, sendForm(ctx, n3.addr, other), shard.CodeMismatch, `forms group "formed"`)
	if group := n3.directory.Group(); group != "" {
		t.Errorf("it agreed to group %q", group)
	}
	refused(t, sendForm(ctx, n3.addr, form), "")
	stop()
}
