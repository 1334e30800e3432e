package barrier_test

import (
	"fmt"
	"math/rand/v2"
	"reflect"
	"strconv"
	"strings"
	"testing"

	"github.com/cockroachdb/datadriven"

	"muster/barrier"
)

// TestScripts runs the stories in testdata/barrier. After each line the table is checked, is saved and restored without a
// difference, and the table before the line is what it was. Lines:
//
//	arrive NAME PARTIES PARTICIPANT@SESSION/REQUEST
//	withdraw NAME PARTICIPANT@SESSION/REQUEST
//	end SESSION
//	open
func TestScripts(t *testing.T) {
	datadriven.Walk(t, "../testdata/barrier", func(t *testing.T, path string) {
		table := barrier.NewTable()
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
			var out strings.Builder
			for line := range strings.Lines(d.Input) {
				before := fmt.Sprint(table.Save()) // as text, since a Save shares the table's memory
				next, said := step(t, table, strings.Fields(line))
				if before != fmt.Sprint(table.Save()) {
					d.Fatalf(t, "%s changed the table it was called on", line)
				}
				sound(t, next)
				table = next
				fmt.Fprintf(&out, "%s\n", said)
			}
			return out.String()
		})
	})
}

func step(t *testing.T, table *barrier.Table, words []string) (*barrier.Table, string) {
	t.Helper()
	switch words[0] {
	case "arrive":
		parties, err := strconv.Atoi(words[2])
		if err != nil {
			t.Fatal(err)
		}
		next, out, release, refusal := table.Arrive(barrier.Arrival{
			Name: barrier.Name(words[1]), Parties: parties, Party: party(t, words[3]),
		})
		if (release != nil) && !reflect.DeepEqual(out, release.Outcome()) {
			t.Fatalf("release %+v, outcome %+v", release, out)
		}
		return next, words[3] + " " + say(out, refusal)
	case "withdraw":
		next, out, refusal := table.Withdraw(barrier.Withdrawal{Name: barrier.Name(words[1]), Party: party(t, words[2])})
		return next, words[2] + " " + say(out, refusal)
	case "end":
		id, err := strconv.ParseUint(words[1], 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		return table.EndSession(barrier.Session(id)), "session " + words[1] + " is over"
	case "open":
		said := fmt.Sprintf("%d open", len(table.Open()))
		for _, r := range table.Open() {
			said += fmt.Sprintf("; %s generation %d: %d of %d", r.Name, r.Generation, len(r.Arrived), r.Parties)
			for _, p := range r.Arrived {
				said += fmt.Sprintf(" %s@%d/%d", p.Participant, p.Session, p.Request)
			}
		}
		return table, said
	}
	t.Fatalf("no such line: %q", words)
	return nil, ""
}

func party(t *testing.T, s string) barrier.Party {
	t.Helper()
	name, call, _ := strings.Cut(s, "@")
	p := barrier.Party{Participant: barrier.Participant(name)}
	if _, err := fmt.Sscanf(call, "%d/%d", &p.Session, &p.Request); err != nil {
		t.Fatalf("party %q: %v", s, err)
	}
	return p
}

func say(out barrier.Outcome, refusal *barrier.Refusal) string {
	reasons := [...]string{"", "invalid", "mismatch", "full", "too old", "reused"}
	switch {
	case refusal != nil:
		return fmt.Sprintf("refused (%s): %s", reasons[refusal.Reason], refusal.Detail)
	case out.State == barrier.Released:
		return fmt.Sprintf("released, generation %d: %v", out.Generation, out.Participants)
	case out.State == barrier.Waiting:
		return fmt.Sprintf("waits, generation %d: %d of %d", out.Generation, out.Arrived, out.Parties)
	}
	return out.State.String()
}

// sound checks a table and that saving and restoring it loses nothing.
func sound(t *testing.T, table *barrier.Table) {
	t.Helper()
	if err := table.Check(); err != nil {
		t.Fatal(err)
	}
	restored, err := barrier.Restore(table.Save())
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(table.Save(), restored.Save()) {
		t.Fatalf("saved %+v, restored %+v", table.Save(), restored.Save())
	}
}

// TestRandomCalls lets a few sessions call at random, repeating and withdrawing calls, and holds the table to the
// promises: a generation opens once, whole, of distinct participants; a call's fate, once told, never changes; nobody is
// released by a party that was withdrawn before.
func TestRandomCalls(t *testing.T) {
	for seed := range uint64(200) {
		w := &world{t: t, table: barrier.NewTable(), dice: rand.New(rand.NewPCG(seed, 1)),
			told: map[barrier.Party]barrier.Outcome{}, opened: map[barrier.Generation]bool{}}
		for range 150 {
			w.call()
			sound(t, w.table)
		}
		if t.Failed() {
			t.Fatalf("seed %d", seed)
		}
		if len(w.opened) == 0 {
			t.Errorf("seed %d opened no barrier: the test shows nothing", seed)
		}
	}
}

type world struct {
	t      *testing.T
	table  *barrier.Table
	dice   *rand.Rand
	calls  []barrier.Arrival
	told   map[barrier.Party]barrier.Outcome // the final word each call got
	opened map[barrier.Generation]bool
}

func (w *world) call() {
	switch again := len(w.calls) > 0 && w.dice.IntN(3) == 0; {
	case again && w.dice.IntN(2) == 0:
		w.withdraw(w.calls[w.dice.IntN(len(w.calls))])
	case again:
		w.arrive(w.calls[w.dice.IntN(len(w.calls))])
	default:
		session := barrier.Session(1 + w.dice.IntN(4))
		a := barrier.Arrival{Name: "x", Parties: 3, Party: barrier.Party{
			Participant: barrier.Participant(fmt.Sprintf("p%d", w.dice.IntN(5))) + barrier.Participant(fmt.Sprint(session)),
			Session:     session, Request: uint64(len(w.calls) + 1),
		}}
		w.calls = append(w.calls, a)
		w.arrive(a)
	}
}

func (w *world) arrive(a barrier.Arrival) {
	next, out, release, refusal := w.table.Arrive(a)
	if refusal != nil {
		w.t.Fatalf("%+v: %v", a, refusal)
	}
	w.table = next
	w.tell(a, out)
	if release == nil {
		return
	}
	if w.opened[release.Generation] || len(release.Parties) != a.Parties {
		w.t.Errorf("generation %d opened again or not whole: %+v", release.Generation, release)
	}
	w.opened[release.Generation] = true
	names := map[barrier.Participant]bool{}
	for _, p := range release.Parties {
		if names[p.Participant] {
			w.t.Errorf("generation %d has %s twice", release.Generation, p.Participant)
		}
		names[p.Participant] = true
		w.tell(barrier.Arrival{Name: a.Name, Party: p}, release.Outcome())
	}
}

func (w *world) withdraw(a barrier.Arrival) {
	next, out, refusal := w.table.Withdraw(barrier.Withdrawal{Name: a.Name, Party: a.Party})
	if refusal != nil {
		w.t.Fatalf("withdraw %+v: %v", a, refusal)
	}
	w.table = next
	w.tell(a, out)
}

func (w *world) tell(a barrier.Arrival, out barrier.Outcome) {
	before, final := w.told[a.Party]
	if final && !reflect.DeepEqual(before, out) {
		w.t.Errorf("%+v was told %+v, now %+v", a.Party, before, out)
	}
	if out.State != barrier.Waiting {
		w.told[a.Party] = out
	}
}

// TestLimits fills each bound and sees the refusal that names it.
func TestLimits(t *testing.T) {
	arrive := func(table *barrier.Table, name string, session, request int) (*barrier.Table, *barrier.Refusal) {
		next, _, _, refusal := table.Arrive(barrier.Arrival{Name: barrier.Name(name), Parties: barrier.MaxParties,
			Party: barrier.Party{Session: barrier.Session(session), Request: uint64(request)}})
		return next, refusal
	}
	// Restored whole rather than filled one by one, which would copy the table for each.
	var saved barrier.Saved
	for i := range barrier.MaxOpen {
		r := barrier.Round{Name: barrier.Name(fmt.Sprintf("n%05d", i)), Generation: barrier.Generation(i + 1), Parties: barrier.MaxParties}
		for k := range barrier.MaxWaiting / barrier.MaxOpen {
			r.Arrived = append(r.Arrived, barrier.Party{Participant: barrier.Participant(fmt.Sprint(k)), Session: 1, Request: 1})
		}
		saved.Rounds = append(saved.Rounds, r)
	}
	saved.Last = barrier.MaxOpen
	full, err := barrier.Restore(saved)
	if err != nil {
		t.Fatal(err)
	}
	if _, refusal := arrive(full, "another", 1, 1); refusal == nil || refusal.Reason != barrier.Full {
		t.Errorf("one barrier too many: %v", refusal)
	}
	if _, refusal := arrive(full, "n00001", 2, 1); refusal == nil || refusal.Reason != barrier.Full {
		t.Errorf("one party too many: %v", refusal)
	}
	table := barrier.NewTable()
	for i := range barrier.MaxResults + 10 {
		next, _, refusal := table.Withdraw(barrier.Withdrawal{Name: "x", Party: barrier.Party{Session: 1, Request: uint64(i + 1)}})
		if refusal != nil {
			t.Fatal(refusal)
		}
		table = next
	}
	if _, refusal := arrive(table, "x", 1, 3); refusal == nil || refusal.Reason != barrier.TooOld {
		t.Errorf("a request whose fate was dropped: %v", refusal)
	}
	if _, refusal := arrive(table, "x", 1, barrier.MaxResults+11); refusal != nil {
		t.Errorf("a new request: %v", refusal)
	}
	sound(t, table)
}

// TestRestoreRefuses damages saved tables in the ways a wrong program could and sees each refused.
func TestRestoreRefuses(t *testing.T) {
	round := barrier.Round{Name: "x", Generation: 1, Parties: 3, First: "a",
		Arrived: []barrier.Party{{Participant: "a", Session: 1, Request: 1}}}
	release := barrier.Release{Name: "x", Generation: 1, Parties: round.Arrived}
	change := func(f func(*barrier.Round)) barrier.Saved {
		r := round
		r.Arrived = append([]barrier.Party(nil), round.Arrived...)
		f(&r)
		return barrier.Saved{Last: 1, Rounds: []barrier.Round{r}}
	}
	call := func(c barrier.SavedCall) []barrier.SavedSession {
		return []barrier.SavedSession{{Session: 1, Calls: []barrier.SavedCall{c}}}
	}
	for what, saved := range map[string]barrier.Saved{
		"complete but open":    change(func(r *barrier.Round) { r.Parties = 1 }),
		"empty round":          change(func(r *barrier.Round) { r.Arrived = nil }),
		"future generation":    change(func(r *barrier.Round) { r.Generation = 2 }),
		"participant twice":    change(func(r *barrier.Round) { r.Arrived = append(r.Arrived, r.Arrived[0]) }),
		"no session":           change(func(r *barrier.Round) { r.Arrived[0].Session = 0 }),
		"negative parties":     change(func(r *barrier.Round) { r.Parties = -1 }),
		"same round twice":     {Last: 1, Rounds: []barrier.Round{round, round}},
		"release missing":      {Last: 1, Sessions: call(barrier.SavedCall{Name: "x", Request: 1, Generation: 1})},
		"release of another":   {Last: 1, Releases: []barrier.Release{release}, Sessions: call(barrier.SavedCall{Name: "y", Request: 1, Generation: 1})},
		"call without request": {Last: 1, Sessions: call(barrier.SavedCall{Name: "x"})},
	} {
		if _, err := barrier.Restore(saved); err == nil {
			t.Errorf("%s was restored", what)
		}
	}
	if _, err := barrier.Restore(change(func(*barrier.Round) {})); err != nil {
		t.Errorf("the undamaged one: %v", err)
	}
}

// FuzzCalls turns bytes into calls of every kind, valid or not, and checks the table after each.
func FuzzCalls(f *testing.F) {
	f.Add([]byte{0, 1, 1, 3, 0, 2, 1, 3, 0, 3, 1, 3, 0, 1, 1, 3})
	f.Add([]byte{0, 1, 1, 3, 1, 1, 1, 0, 0, 1, 1, 3, 2, 1, 0, 0})
	f.Fuzz(func(t *testing.T, in []byte) {
		table := barrier.NewTable()
		for ; len(in) >= 4; in = in[4:] {
			p := barrier.Party{Participant: barrier.Participant(strings.Repeat("p", int(in[1]&3))), Session: barrier.Session(in[1] >> 2), Request: uint64(in[2])}
			switch in[0] % 3 {
			case 0:
				table, _, _, _ = table.Arrive(barrier.Arrival{Name: "x", Parties: int(int8(in[3])), Party: p})
			case 1:
				table, _, _ = table.Withdraw(barrier.Withdrawal{Name: "x", Party: p})
			case 2:
				table = table.EndSession(p.Session)
			}
			sound(t, table)
		}
	})
}
