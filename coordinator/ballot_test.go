package coordinator_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/hashicorp/raft"

	"muster/coordinator"
)

// vote is what Raft does when it votes: the term first, the candidate then.
func vote(t *testing.T, s raft.StableStore, term uint64, candidate string) {
	t.Helper()
	for _, err := range []error{
		s.SetUint64([]byte("CurrentTerm"), term), s.SetUint64([]byte("LastVoteTerm"), term), s.Set([]byte("LastVoteCand"), []byte(candidate)),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
}

func voted(t *testing.T, s raft.StableStore, term, voteTerm uint64, candidate string) {
	t.Helper()
	now, err := s.GetUint64([]byte("CurrentTerm"))
	of, err2 := s.GetUint64([]byte("LastVoteTerm"))
	whom, err3 := s.Get([]byte("LastVoteCand"))
	if err != nil || err2 != nil || err3 != nil || now != term || of != voteTerm || string(whom) != candidate {
		t.Errorf("in term %d, voted for %q in %d; want term %d, %q in %d (%v, %v, %v)", now, whom, of, term, candidate, voteTerm, err, err2, err3)
	}
}

func openVotes(t *testing.T, path string, under *disk) raft.StableStore {
	t.Helper()
	s, err := coordinator.OpenBallots(path, under)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// Votes outlive a process, whatever it was about to write: a vote whose candidate is not stored yet is none. What is not a vote
// goes to the store below.
func TestVotesAreKept(t *testing.T) {
	path, under := filepath.Join(t.TempDir(), "votes"), &disk{InmemStore: raft.NewInmemStore()}
	s := openVotes(t, path, under)
	voted(t, s, 0, 0, "")
	vote(t, s, 3, "n1")
	vote(t, s, 4, "n2")
	if err := s.SetUint64([]byte("CurrentTerm"), 5); err != nil {
		t.Fatal(err)
	}
	if err := s.SetUint64([]byte("LastVoteTerm"), 5); err != nil {
		t.Fatal(err)
	}
	if err := s.Set([]byte("other"), []byte("x")); err != nil {
		t.Fatal(err)
	}
	s = openVotes(t, path, under)
	voted(t, s, 5, 4, "n2")
	if other, err := s.Get([]byte("other")); string(other) != "x" || err != nil {
		t.Errorf("what is below: %q, %v", other, err)
	}
	vote(t, s, 6, "n3")
	voted(t, openVotes(t, path, under), 6, 6, "n3")
}

// The votes of a store from before the file was are taken over, once.
func TestVotesMove(t *testing.T) {
	path, under := filepath.Join(t.TempDir(), "votes"), &disk{InmemStore: raft.NewInmemStore()}
	vote(t, under, 7, "n2")
	voted(t, openVotes(t, path, under), 7, 7, "n2")
	vote(t, under, 1, "stale")
	voted(t, openVotes(t, path, under), 7, 7, "n2")
}

// A machine that fails in the middle of a write leaves the vote before it. A file that is gone, or damaged in both places, says
// nothing about what was voted, and the node does not take part.
func TestVotesThatAreDamaged(t *testing.T) {
	path, under := filepath.Join(t.TempDir(), "votes"), &disk{InmemStore: raft.NewInmemStore()}
	s := openVotes(t, path, under)
	vote(t, s, 3, "n1")
	if err := s.SetUint64([]byte("CurrentTerm"), 4); err != nil {
		t.Fatal(err)
	}
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	torn := 0
	for _, at := range []int{10, 4096 + 10} {
		damaged := append([]byte(nil), whole...)
		damaged[at] ^= 1
		if err := os.WriteFile(path, damaged, 0o600); err != nil {
			t.Fatal(err)
		}
		switch term, err := openVotes(t, path, under).GetUint64([]byte("CurrentTerm")); {
		case err != nil:
			t.Error(err)
		case term == 3:
			torn++
		case term != 4:
			t.Errorf("with the byte at %d damaged the term is %d", at, term)
		}
	}
	if torn != 1 {
		t.Errorf("%d of the two places hold the newest vote", torn)
	}
	for _, damaged := range [][]byte{nil, make([]byte, len(whole)), whole[:20]} {
		if err := os.WriteFile(path, damaged, 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := coordinator.OpenBallots(path, under); err == nil || !strings.Contains(err.Error(), "damaged") {
			t.Errorf("a damaged file of %d bytes: %v", len(damaged), err)
		}
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if _, err := coordinator.OpenBallots(path, under); err == nil || !strings.Contains(err.Error(), "missing") {
		t.Errorf("a file that is gone: %v", err)
	}
}
