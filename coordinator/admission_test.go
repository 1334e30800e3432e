package coordinator_test

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"google.golang.org/grpc"

	"muster/coordinator"
	"muster/fsm"
	"muster/shard"
	"muster/transport"
	"muster/transport/wire"
)

// A node is admitted when it answers at the address it gives: not where nobody listens, where a stranger does, or another member, be that the
// leader. Whoever starts it hears the address and why. A known node may move to another address.
func TestNobodyIsAdmittedUnseen(t *testing.T) {
	g := newGroup(t, 3)
	g.startAll()
	g.everyMap("all are up", up("n1", "n2", "n3"))
	at := func(addr string) func(*coordinator.Config) {
		return func(c *coordinator.Config) {
			c.Addr, c.Times.Lease, c.Times.Renew = addr, 300*time.Millisecond, 100*time.Millisecond
		}
	}
	nobody, late := freeAddr(t), g.add("n4")
	g.underOneLeader(func(leader *node) error {
		peers := leader.port.Stats().Peers
		fault := unlike(late.start(at(nobody)), shard.CodeUnreachable, "the leader, reaches nobody at "+nobody+", the address of node n4", "refused")
		if now := leader.port.Stats().Peers; now > peers && fault == nil {
			fault = fmt.Errorf("the leader keeps %d connections, and kept %d", now, peers)
		}
		return fault
	})
	g.underOneLeader(func(leader *node) error {
		other := g.nodes[other(leader.id, "n4")]
		return unlike(late.start(at(other.addr)), shard.CodeUnreachable, "at "+other.addr+", the address of node n4, node "+string(other.id)+" answers")
	})
	g.underOneLeader(func(leader *node) error {
		return unlike(late.start(at(leader.addr)), shard.CodeInUse, "address "+leader.addr+" is that of node "+string(leader.id)+", which leads the group")
	})
	if m, known := g.leader().View().Members["n4"]; known {
		t.Errorf("it is a member: %+v", m)
	}
	if err := late.start(nil); err != nil {
		t.Fatal(err)
	}
	g.everyMap("n4 is up", up("n1", "n2", "n3", "n4"))
	late.stop()
	late.addr = freeAddr(t)
	if err := late.start(nil); err != nil {
		t.Fatal(err)
	}
	g.everyMap("n4 is up elsewhere", up("n1", "n2", "n3", "n4"))
}

// The time that a node asks again begins with the first refusal. There was no leader to give one before, as when a whole group comes up slowly; and the
// sessions from before, whose addresses others have by now, end a lease after there is one.
func TestNobodyIsRefusedBeforeSessionsEnd(t *testing.T) {
	g := newGroup(t, 1)
	g.change = func(c *coordinator.Config) { c.Times.Lease, c.Times.Renew = time.Second, 100*time.Millisecond }
	g.startAll()
	gone, late := g.add("n2"), g.add("n3")
	for _, n := range []*node{gone, late} {
		if err := n.start(g.change); err != nil {
			t.Fatal(err)
		}
	}
	g.everyMap("all are up", up("n1", "n2", "n3"))
	for _, n := range g.nodes {
		n.kill()
	}
	late.addr = gone.addr
	came := make(chan error, 1)
	go func() { came <- late.start(g.change) }()
	<-time.After(3500 * time.Millisecond) // more than three leases
	if err := g.nodes["n1"].start(g.change); err != nil {
		t.Fatal(err)
	}
	if err := <-came; err != nil {
		t.Fatal(err)
	}
	g.everyMap("n3 is up where n2 was", func(v *shard.View) error {
		if m := v.Members["n3"]; !v.Up("n3") || m.Addr != gone.addr {
			return fmt.Errorf("%+v", m)
		}
		return nil
	})
}

// The time begins anew when the leader is lost after it has refused a node: the next one gives the session that is in the way a whole lease, however
// long there was none.
func TestNobodyIsRefusedForTheTimeWithoutALeader(t *testing.T) {
	g := newGroup(t, 1)
	g.startAll()
	n1, n2 := g.nodes["n1"], g.add("n2")
	if err := n2.start(nil); err != nil {
		t.Fatal(err)
	}
	twin := &node{g: g, id: "n2", path: filepath.Join(g.root, "twin"), addr: freeAddr(t)}
	twin.copies = newCopies(twin)
	refusals, came := make(chan string, 1), make(chan error, 1)
	go func() {
		came <- twin.start(func(c *coordinator.Config) { c.Logger = listening("not admitted yet", refusals) })
	}()
	<-refusals
	n2.kill()
	n1.kill()
	<-time.After(3500 * time.Millisecond) // more than three leases
	if err := n1.start(nil); err != nil {
		t.Fatal(err)
	}
	if err := <-came; err != nil {
		t.Fatal(err)
	}
	defer twin.kill()
	if m := n1.View().Members["n2"]; m.Addr != twin.addr {
		t.Errorf("%+v", m)
	}
}

// A node that answers where it says, and is refused because another process has its id, leaves no connection behind at the leader, which asked it there.
func TestRefusedNodeIsHungUp(t *testing.T) {
	g := newGroup(t, 1)
	g.startAll()
	n1, n2 := g.nodes["n1"], g.add("n2")
	if err := n2.start(nil); err != nil {
		t.Fatal(err)
	}
	g.everyMap("both are up", up("n1", "n2"))
	peers := n1.port.Stats().Peers
	for i := range 2 {
		twin := &node{g: g, id: "n2", path: filepath.Join(g.root, fmt.Sprint("twin", i)), addr: freeAddr(t)}
		twin.copies = newCopies(twin)
		refused(t, twin.start(func(c *coordinator.Config) { c.Times.Lease, c.Times.Renew = 300*time.Millisecond, 100*time.Millisecond }), shard.CodeInUse)
	}
	if now := n1.port.Stats().Peers; now > peers {
		t.Errorf("the leader keeps %d connections, and kept %d", now, peers)
	}
}

// listening is a log that gives the first line with the words to heard.
func listening(words string, heard chan<- string) hclog.Logger {
	return hclog.New(&hclog.LoggerOptions{Level: hclog.Info, Output: writer(func(line string) {
		if strings.Contains(line, words) {
			select {
			case heard <- line:
			default:
			}
		}
	})})
}

type writer func(string)

func (w writer) Write(b []byte) (int, error) {
	w(string(b))
	return len(b), nil
}

// A node that comes back at another address each time leaves no connection behind at those it had: neither at the leader, which asks
// it there, nor at another node that follows the map.
func TestFormerAddressesAreHungUp(t *testing.T) {
	g := newGroup(t, 1)
	g.startAll()
	n1, still, moves := g.nodes["n1"], g.add("n2"), g.add("n3")
	if err := still.start(nil); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		moves.addr = freeAddr(t)
		if err := moves.start(nil); err != nil {
			t.Fatal(err)
		}
		g.everyMap("n3 is up there", func(v *shard.View) error {
			if m := v.Members["n3"]; !v.Up("n3") || m.Addr != moves.addr {
				return fmt.Errorf("%+v", m)
			}
			return nil
		})
		still.port.Waiting(moves.addr)
		moves.stop()
	}
	if err := moves.start(nil); err != nil {
		t.Fatal(err)
	}
	g.everyMap("all are up", up("n1", "n2", "n3"))
	g.eventually("each holds connections to the other two", func() error {
		for _, n := range []*node{n1, still} {
			if held := n.port.Stats().Peers; held > 2 {
				return fmt.Errorf("%s holds %d", n.id, held)
			}
		}
		return nil
	})
}

// Nobody but a node itself has it registered, renews its session, reports from its directory, sits in a barrier for it or says good-bye in its name: not another
// node, which knows all that it takes from the map, nor a client. Nor does anybody propose what a leader does by itself. The session that it has goes on.
func TestNobodyActsForAnother(t *testing.T) {
	g := newGroup(t, 1, account)
	g.startAll()
	n1, n2, n3 := g.nodes["n1"], g.add("n2"), g.add("n3")
	g.startAll()
	g.everyMap("all are up", up("n1", "n2", "n3"))
	g.everyMap("every shard is active", active("account"))
	m := n1.View().Members["n2"]
	client, err := transport.Dial(n1.addr, transport.ClientOptions{Group: n1.View().Group})
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	foreign := inTheNameOf(t, ctx, n1.View(), m)
	for what, call := range foreign {
		for who, conn := range map[string]*grpc.ClientConn{"node n3": n3.port.Peer(n1.addr), "a client": client} {
			if fault, err := call(wire.NewGroupClient(conn)); err != nil || shard.Code(fault.GetCode()) != shard.CodeWrongGroup {
				t.Errorf("%s by %s: %v, %v", what, who, fault, err)
			}
		}
	}
	if n2.View().Ended(m.Session) || n2.Session() != m.Session {
		t.Errorf("n2 had session %d, which is over: %t; it has %d", m.Session, n2.View().Ended(m.Session), n2.Session())
	}
	n2.stop() // it says good-bye itself
	g.everyMap("n2 has left", up("n1", "n3"))
}

// inTheNameOf are calls that only the member itself, or the leader by itself, has reason to make.
func inTheNameOf(t *testing.T, ctx context.Context, v *shard.View, m shard.Member) map[string]func(wire.GroupClient) (*wire.Fault, error) {
	t.Helper()
	p := v.Types["account"].Placements[0]
	lost := &wire.Report{Kind: uint32(shard.ReportLost), Type: "account", Copy: uint64(p.Copies[0].ID), Epoch: uint64(p.Epoch)}
	foreign := map[string]func(wire.GroupClient) (*wire.Fault, error){
		"a renewal": func(at wire.GroupClient) (*wire.Fault, error) {
			reply, err := at.Renew(ctx, &wire.RenewRequest{Session: uint64(m.Session), Number: 1_000_000})
			return reply.GetFault(), err
		},
		"the renewal of a session to come": func(at wire.GroupClient) (*wire.Fault, error) {
			reply, err := at.Renew(ctx, &wire.RenewRequest{Session: 1_000_000, Number: 1})
			return reply.GetFault(), err
		},
		"a report": func(at wire.GroupClient) (*wire.Fault, error) {
			reply, err := at.Report(ctx, &wire.ReportRequest{Session: uint64(m.Session), Directory: string(m.Directory), Reports: []*wire.Report{lost}})
			return reply.GetFault(), err
		},
		"a report without a session": func(at wire.GroupClient) (*wire.Fault, error) {
			reply, err := at.Report(ctx, &wire.ReportRequest{Directory: string(m.Directory), Reports: []*wire.Report{lost}})
			return reply.GetFault(), err
		},
		"an arrival": func(at wire.GroupClient) (*wire.Fault, error) {
			reply, err := at.Arrive(ctx, &wire.ArriveRequest{Name: "b", Parties: 1, Session: uint64(m.Session), Request: 1})
			return reply.GetFault(), err
		},
	}
	for what, c := range map[string]fsm.Command{
		"a registration": &fsm.Register{
			Node: "n2", Directory: m.Directory, Machine: m.Machine, Addr: m.Addr, Nonce: "another-process", LastSession: m.Session, Fenced: true,
		},
		"a farewell":                 &fsm.Depart{Session: m.Session},
		"the farewell of a newcomer": &fsm.Depart{Session: v.LastSession + 1},
		"a leave":                    &fsm.Leave{Session: m.Session},
		"a withdrawal":               &fsm.Withdraw{Name: "b", Participant: "p", Session: m.Session, Request: 1},
		"an expiry":                  &fsm.Expire{Session: m.Session, LastRenewal: 1 << 40},
		"renewals as the leader's":   &fsm.Renew{Items: []fsm.Renewal{{Session: m.Session, Number: 1 << 40}}},
		"a lost copy":                &fsm.CopyLost{Items: []fsm.CopyItem{{Shard: p.Shard, Copy: p.Copies[0].ID, Directory: m.Directory}}},
	} {
		entry, err := fsm.Encode(c)
		if err != nil {
			t.Fatal(err)
		}
		foreign[what] = func(at wire.GroupClient) (*wire.Fault, error) {
			reply, err := at.Propose(ctx, &wire.ProposeRequest{Commands: entry})
			return reply.GetFault(), err
		}
	}
	return foreign
}
