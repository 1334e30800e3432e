package plan_test

import (
	"testing"
	"time"

	"muster/coordinator/plan"
	"muster/fsm"
	"muster/shard"
)

// The history of a shard tells how much an election leaves out: what stands in the log of a copy that answered, behind the last
// position that the elected log shares with it. A group that may have voters which do not read that is not told.
func TestElectionsSayWhatTheyLeaveOut(t *testing.T) {
	log := func(last shard.LSN, confirmed shard.LSN, epochs ...shard.EpochStart) shard.Sealed {
		return shard.Sealed{Last: shard.Position{Epoch: epochs[len(epochs)-1].Epoch, LSN: last}, Confirmed: confirmed, History: epochs}
	}
	one := shard.EpochStart{Epoch: 1, First: 1}
	for what, c := range map[string]struct {
		winner, other shard.Sealed
		version       byte // the group's
		want          shard.LSN
	}{
		"it is as long":               {log(9, 0, one), log(9, 0, one), fsm.Version, 0},
		"it is shorter":               {log(9, 0, one), log(7, 0, one), fsm.Version, 0},
		"its epoch ended sooner":      {log(9, 0, one, shard.EpochStart{Epoch: 2, First: 5}), log(12, 0, one), fsm.Version, 8},
		"it has an epoch of its own":  {log(6, 0, one, shard.EpochStart{Epoch: 3, First: 6}), log(8, 0, one, shard.EpochStart{Epoch: 2, First: 4}), fsm.Version, 5},
		"they begin where one is not": {log(9, 5, shard.EpochStart{Epoch: 3, First: 5}), log(8, 4, shard.EpochStart{Epoch: 2, First: 2}), fsm.Version, 4},
		"an old voter takes part":     {log(9, 0, one, shard.EpochStart{Epoch: 2, First: 5}), log(12, 0, one), 0, 0},
	} {
		s, p := recovering(t)
		if c.version != 0 {
			s = applied(t, s, &fsm.RaiseVersion{To: c.version})
		}
		d := plan.NewDriver()
		in := input(s, time.Minute)
		d.Next(in)
		for i, answer := range []shard.Sealed{c.winner, c.other} {
			answer.Shard, answer.Copy, answer.Epoch = p.Shard, p.Copies[i+1].ID, p.Epoch
			d.Sealed(answer)
		}
		in.Now += time.Second
		d.Next(in)
		in.Now += time.Second
		var elected []fsm.Election
		for _, step := range d.Next(in) {
			if e, is := step.Command.(*fsm.Elect); is {
				elected = append(elected, e.Items...)
			}
		}
		if len(elected) != 1 || elected[0].Copy != p.Copies[1].ID || elected[0].Cut != c.want {
			t.Errorf("%s: %+v, want copy %d elected without %d records", what, elected, p.Copies[1].ID, c.want)
		}
	}
}

// The rules of a version are put in force when every voter reads it, once, and the proposal is repeated until that is seen.
func TestVersionIsRaisedWhenAllReadIt(t *testing.T) {
	s := formed(t, 1, 0)
	d := plan.NewDriver()
	raised := func(now time.Duration, reads byte) (to byte) {
		in := input(s, now)
		in.Reads = reads
		for _, step := range d.Next(in) {
			if r, is := step.Command.(*fsm.RaiseVersion); is {
				to = r.To
			}
		}
		return to
	}
	at := time.Minute
	for _, reads := range []byte{0, fsm.RaiseSince - 1} {
		if to := raised(at, reads); to != 0 {
			t.Errorf("raised to %d where %d is read", to, reads)
		}
	}
	if to := raised(at, fsm.Version); to != fsm.Version {
		t.Errorf("raised to %d", to)
	}
	if to := raised(at+d.Times.Retry/2, fsm.Version); to != 0 {
		t.Errorf("proposed again at once: %d", to)
	}
	if to := raised(at+d.Times.Retry, fsm.Version); to != fsm.Version {
		t.Errorf("not proposed again: %d", to)
	}
	s = applied(t, s, &fsm.RaiseVersion{To: fsm.Version})
	if to := raised(at+time.Hour, fsm.Version); to != 0 || s.GroupVersion() != fsm.Version {
		t.Errorf("raised to %d though %d is in force", to, s.GroupVersion())
	}
	if s = applied(t, s, &fsm.RaiseVersion{To: fsm.RaiseSince}); s.GroupVersion() != fsm.Version {
		t.Errorf("lowered to %d", s.GroupVersion())
	}
}

// recovering returns a state with one shard of three copies, whose first primary is gone and kept its log to itself.
func recovering(t *testing.T) (*fsm.State, *shard.Placement) {
	t.Helper()
	s := serving(t, formed(t, 3, 0, shard.Spec{Name: "t", Shards: 1, Replicas: 2, MinAcks: 1, AckTimeout: time.Second}))
	s = applied(t, s, &fsm.Expire{Session: s.View.Members["n00"].Session})
	return s, s.View.Placement(shard.ID{Type: "t"})
}
