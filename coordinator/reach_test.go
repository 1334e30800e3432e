package coordinator_test

import (
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/raft"

	"muster/coordinator"
)

// answering is a server in memory that takes everything; counted are the calls that were no heartbeats.
func answering(t *testing.T) (at raft.ServerAddress, server *raft.InmemTransport, counted *atomic.Int64) {
	at, server = raft.NewInmemTransport("")
	counted = &atomic.Int64{}
	over := make(chan struct{})
	t.Cleanup(func() { close(over) })
	go func() {
		for {
			select {
			case call := <-server.Consumer():
				if req := call.Command.(*raft.AppendEntriesRequest); len(req.Entries) > 0 {
					counted.Add(1)
				}
				call.Respond(&raft.AppendEntriesResponse{Success: true}, nil)
			case <-over:
				return
			}
		}
	}()
	return at, server, counted
}

// A voter is away. Raft would try to send it entries, fail, and rest for longer each time, for up to ten seconds, which it does not
// cut short when the voter is back. So the call waits, however long that takes, and goes on as soon as a heartbeat is answered.
func TestEntriesWaitForHeartbeats(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		at, server, counted := answering(t)
		_, own := raft.NewInmemTransport("")
		r := coordinator.NewReach(own, func(raft.ServerID, uint64) bool { return true })
		beat := func() error {
			return r.AppendEntries("n2", at, &raft.AppendEntriesRequest{Term: 1}, &raft.AppendEntriesResponse{})
		}
		if beat() == nil {
			t.Fatal("a heartbeat is answered by a server that is away")
		}
		began, sent := time.Now(), make(chan error, 1)
		go func() {
			sent <- r.AppendEntries("n2", at, &raft.AppendEntriesRequest{Term: 1, Entries: []*raft.Log{{}}}, &raft.AppendEntriesResponse{})
		}()
		<-time.After(time.Minute)
		synctest.Wait()
		if len(sent) > 0 {
			t.Fatalf("the call ended after %s: %v", time.Since(began), <-sent)
		}
		own.Connect(at, server)
		back := time.Now()
		if err := beat(); err != nil {
			t.Fatal(err)
		}
		if err := <-sent; err != nil || counted.Load() != 1 || time.Since(back) > 0 {
			t.Errorf("%d entries sent %s after the server was back: %v", counted.Load(), time.Since(back), err)
		}
	})
}

// What waits gives up soon after this node leads no more, or the server has lost its seat. And what failed in one term says nothing
// about the next.
func TestWaitingForHeartbeatsEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		at, server, counted := answering(t)
		_, own := raft.NewInmemTransport("")
		var over atomic.Bool
		r := coordinator.NewReach(own, func(raft.ServerID, uint64) bool { return !over.Load() })
		send := func(term uint64, entries ...*raft.Log) error {
			return r.AppendEntries("n2", at, &raft.AppendEntriesRequest{Term: term, Entries: entries}, &raft.AppendEntriesResponse{})
		}
		if send(1) == nil {
			t.Fatal("a heartbeat is answered by a server that is away")
		}
		sent := make(chan error, 1)
		go func() { sent <- send(1, &raft.Log{}) }()
		synctest.Wait()
		over.Store(true)
		ended := time.Now()
		if err := <-sent; err == nil || time.Since(ended) > 100*time.Millisecond {
			t.Errorf("the call ended %s later with %v", time.Since(ended), err)
		}
		own.Connect(at, server)
		if err := send(2, &raft.Log{}); err != nil || counted.Load() != 1 {
			t.Errorf("the first entries of the next term: %v", err)
		}
	})
}
