package coordinator_test

import (
	"fmt"
	"runtime/debug"
	"slices"
	"testing"
	"time"

	"muster/coordinator"
	"muster/fsm"
	"muster/shard"
	"muster/transport"
	"muster/transport/wire"
)

// The largest map there can be, with three copies of every shard, is more than a message holds. Whoever asks for it or follows it gets
// it in parts: a client, and a node that joins. The group is of one node, and the map put into it: to place so many shards takes longer.
func TestTheLargestMapIsSent(t *testing.T) {
	if built, ok := debug.ReadBuildInfo(); ok && slices.Contains(built.Settings, debug.BuildSetting{Key: "-race", Value: "true"}) {
		t.Skip("with the race detector it takes a minute and more")
	}
	g := newLoneGroup(t, 1)
	g.patience = 2 * time.Minute // it takes seconds of a processor to put the map together again, and many more on a busy machine
	g.startAll()
	g.everyMap("n1 is up", up("n1"))
	n1 := g.nodes["n1"]
	coordinator.Impose(n1.Coordinator, func(v *shard.View) *shard.View { return largest(t, v) })
	late := g.add("n2")
	conn, err := transport.Dial(n1.addr, transport.ClientOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	var answer fsm.Single
	size := 0
	reply, err := transport.Inspect(t.Context(), wire.NewGroupClient(conn), &wire.InspectRequest{Linearizable: true}, func(b []byte) error {
		size += len(b)
		return answer.Take(b)
	})
	if err != nil || reply.Node != "n1" {
		t.Fatalf("%v, %v", reply.GetNode(), err)
	}
	if whole, err := answer.Delta(); err != nil || size < 64<<20 || len(whole.Placements) != fsm.MaxShards {
		t.Fatalf("%d bytes: %v", size, err)
	}
	stream, err := wire.NewGroupClient(conn).Watch(t.Context(), &wire.WatchRequest{Parts: true})
	if err != nil {
		t.Fatal(err)
	}
	// What comes in one event has to be on its way for less than a watch may be silent, or a slow line carries no map at all.
	if whole, largest := wholeMap(t, stream); len(whole.Placements) != fsm.MaxShards || largest > 512<<10 {
		t.Errorf("%d shards come in events of up to %d bytes", len(whole.Placements), largest)
	}
	if err := late.start(nil); err != nil {
		t.Fatal(err)
	}
	g.eventually("the node that joins has the map", func() error {
		if v := late.View(); len(v.Types) != fsm.MaxShards/shard.MaxShards || !v.Up("n2") {
			return fmt.Errorf("%d types at %d", len(v.Types), v.Index)
		}
		return nil
	})
}

// largest is the map with as many shards as there may be, which n1 serves, and whose other copies are on nodes that are down.
func largest(t *testing.T, v *shard.View) *shard.View {
	d, session := shard.Delta{Index: v.Index + 1}, v.Members["n1"].Session
	seats := []shard.Copy{{Node: "n1", Directory: v.Members["n1"].Directory}}
	for _, id := range []shard.NodeID{"m2.rack-17.zone-b", "m3.rack-04.zone-c"} {
		m := shard.Member{ID: id, Addr: string(id) + ":7420", Directory: shard.DirectoryID("0f8b4c55-5d0e-4ab1-9c55-" + id)}
		d.Members, seats = append(d.Members, m), append(seats, shard.Copy{Node: id, Directory: m.Directory})
	}
	for i := range fsm.MaxShards / shard.MaxShards {
		name := shard.TypeName(fmt.Sprint("customer-account-", i))
		d.Types = append(d.Types, shard.Spec{Name: name, Shards: shard.MaxShards, Replicas: 2, MinAcks: 1, AckTimeout: time.Second})
		for k := range shard.MaxShards {
			p := shard.Placement{
				Shard: shard.ID{Type: name, Number: shard.Number(k)}, Epoch: 1, Version: 1, Status: shard.Active, Node: "n1", Session: session,
				WriteQuorum: 2, Cause: shard.CauseActivated, Changed: d.Index, ActiveEpoch: 1, ActiveSession: session, ActiveNode: "n1",
			}
			for n, c := range seats {
				c.ID, c.State = shard.CopyID(3*len(d.Placements)+n+1), shard.CopyReady
				p.Copies = append(p.Copies, c)
			}
			p.Primary, p.ActivePrimary = p.Copies[0].ID, p.Copies[0].ID
			d.Placements = append(d.Placements, p)
		}
	}
	next, err := v.With(&d)
	if err != nil {
		t.Fatal(err)
	}
	next.Index = v.Index
	return next
}
