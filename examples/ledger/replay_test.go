package main

import (
	"bytes"
	"context"
	"math/rand/v2"
	"os"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"muster/entity"
	"muster/shard"
)

// moody is a group in memory that refuses some commands, answers others with an unknown outcome whether or not they took
// effect, and checks that the postings of an account never overlap.
type moody struct {
	bank bank
	mu   struct {
		sync.Mutex
		random *rand.Rand
		cells  map[entity.ID]*entity.Cell
		busy   map[entity.ID]bool
		moods  map[string]int
	}
	t *testing.T
}

func (m *moody) Tell(ctx context.Context, e entity.Envelope) error {
	_, err := m.Ask(ctx, e)
	return err
}

func (m *moody) Ask(ctx context.Context, e entity.Envelope) ([]byte, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.mu.busy[e.Entity] {
		m.t.Errorf("two commands for %s at once", e.Entity)
	}
	m.mu.busy[e.Entity] = true
	mood := m.mu.random.IntN(20)
	delay := time.Duration(m.mu.random.IntN(5)) * time.Millisecond
	m.mu.Unlock()
	<-time.After(delay) // on the bubble's clock
	m.mu.Lock()
	m.mu.busy[e.Entity] = false
	switch mood {
	case 0:
		m.mu.moods["refused"]++
		return nil, shard.Errorf(shard.CodeUnavailable, "no owner")
	case 1:
		m.mu.moods["lost before"]++
		return nil, shard.Unknownf(shard.CodeSessionEnded, "who knows")
	}
	c := m.mu.cells[e.Entity]
	if c == nil {
		c = m.bank.accounts.NewCell(e.Entity)
		m.mu.cells[e.Entity] = c
	}
	o, err := c.Handle(ctx, e)
	if err == nil && mood == 2 {
		m.mu.moods["lost after"]++
		return nil, shard.Unknownf(shard.CodeUnconfirmed, "who knows")
	}
	return o.Reply, err
}

// Postings that are refused for the moment or whose outcome is unknown still take effect exactly once, in order.
func TestReplayThroughMoods(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := &moody{bank: newBank(entity.Shards(8)), t: t}
		m.mu.random = rand.New(rand.NewPCG(7, 7))
		m.mu.cells, m.mu.busy, m.mu.moods = map[entity.ID]*entity.Cell{}, map[entity.ID]bool{}, map[string]int{}
		var file bytes.Buffer
		if err := newForger(3, 40).write(&file, 3000); err != nil {
			t.Fatal(err)
		}
		postings, err := read(&file, "forged")
		if err != nil {
			t.Fatal(err)
		}
		r := newReplay(m, m.bank, 8, postings)
		if err := r.run(t.Context(), 16); err != nil {
			t.Fatal(err)
		}
		got, err := r.readAll(t.Context(), 16)
		if err != nil {
			t.Fatal(err)
		}
		var p report
		p.compare(got, sums(postings))
		p.measure(r)
		if err := p.verdict(); err != nil || p.Lost+p.Doubled != 0 {
			t.Errorf("lost %d, doubled %d: %v", p.Lost, p.Doubled, err)
		}
		if len(m.mu.moods) != 3 || p.Unclear == 0 || p.P99 < p.P50 || p.P50 <= 0 || p.GapMax < p.GapMedian {
			t.Errorf("moods %v, report %+v", m.mu.moods, p)
		}
	})
}

// A hundredth more, a posting less: either way the demo fails and names the account.
func TestVerdict(t *testing.T) {
	want := map[int64]Account{1: {Balance: 100, Postings: 2}, 2: {Balance: -5, Postings: 1}}
	for _, c := range []struct {
		got           map[int64]Account
		lost, doubled int64
		says          string
	}{
		{map[int64]Account{1: {Balance: 100, Postings: 2}, 2: {Balance: -5, Postings: 1}}, 0, 0, ""},
		{map[int64]Account{1: {Balance: 100, Postings: 2}, 2: {Balance: -4, Postings: 1}}, 0, 0, "account 2: -0.04 after 1"},
		{map[int64]Account{1: {Balance: 100, Postings: 2}}, 1, 0, "account 2: 0.00 after 0"},
		{map[int64]Account{1: {Balance: 100, Postings: 3}, 2: {Balance: -5, Postings: 1}}, 0, 1, "account 1"},
	} {
		var p report
		p.compare(c.got, want)
		err := p.verdict()
		if p.Lost != c.lost || p.Doubled != c.doubled || (err != nil) != (c.says != "") {
			t.Errorf("%v: lost %d, doubled %d, %v", c.got, p.Lost, p.Doubled, err)
		}
		if err != nil && !strings.Contains(err.Error(), c.says) {
			t.Errorf("%v does not say %q", err, c.says)
		}
	}
}

// A shard is without service only while somebody waits for it.
func TestService(t *testing.T) {
	var s service
	at := func(seconds int) time.Time { return time.Unix(int64(seconds), 0) }
	s.asked(at(0))
	s.asked(at(2))
	s.answered(at(3)) // 3 s since the first question
	s.answered(at(5)) // 2 s since the last answer
	s.asked(at(100))  // idle until here
	s.answered(at(101))
	if s.gap() != 3*time.Second {
		t.Errorf("gap %s", s.gap())
	}
}

// What defines the bank is short enough to be read at a glance.
func TestAccountStaysShort(t *testing.T) {
	source, err := os.ReadFile("account.go")
	if err != nil {
		t.Fatal(err)
	}
	if n := bytes.Count(source, []byte("\n")); n > 25 {
		t.Errorf("account.go has %d lines", n)
	}
}
