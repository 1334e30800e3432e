package coordinator_test

import (
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"muster/coordinator"
	"muster/fsm"
	"muster/shard"
)

// Three parties of a barrier arrive one after the other, the last while the first is still being stored. The first waits for nobody;
// the others share the entry after it, so the last waits for two writes of the disk and not for three.
func TestProposalsGatherWhileOneIsStored(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &disk{}
		s := watched(t, d)
		p, err := coordinator.NewProposing(s)
		if err != nil {
			t.Fatal(err)
		}
		const write = 10 * time.Millisecond
		synctest.Wait()
		d.takes = write
		indices, faults := make([]shard.Index, 3), make([]error, 3)
		began := time.Now()
		var all sync.WaitGroup
		for i := range indices {
			all.Go(func() {
				indices[i], faults[i] = p.Propose(t.Context(), &fsm.RequireQuorum{Members: i})
			})
			<-time.After(write / 4)
			synctest.Wait()
		}
		all.Wait()
		if err := errors.Join(faults...); err != nil || indices[0] == indices[1] || indices[1] != indices[2] {
			t.Errorf("entries %v: %v", indices, err)
		}
		if took := time.Since(began); took > 2*write+write/2 {
			t.Errorf("the last was applied %s after the first was proposed", took)
		}
		d.takes = 0
		if err := errors.Join(p.Close(), s.Shut(time.Second)); err != nil {
			t.Error(err)
		}
	})
}
