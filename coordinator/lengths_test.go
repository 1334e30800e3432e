package coordinator

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"

	"muster/fsm"
)

// A node acts on its own lease and on no more than the leader says that it is waited for; a leader of an earlier build does not say. From
// that goes what clocks may differ by.
func TestExpiryIsTheShorter(t *testing.T) {
	c := &Coordinator{cfg: Config{Times: Times{Lease: 10 * time.Second}}}
	for waited, want := range map[time.Duration]time.Duration{
		0:                9800 * time.Millisecond,
		2 * time.Second:  1880 * time.Millisecond,
		10 * time.Second: 9800 * time.Millisecond,
		time.Minute:      9800 * time.Millisecond,
	} {
		if got := c.expiry(time.Hour, waited) - time.Hour; got != want {
			t.Errorf("waited for %s it acts %s, not %s", waited, got, want)
		}
	}
}

// The leader puts a session's lengths into the log when every voter reads them, once. Until they are there it waits for its own lease, and says so;
// then for the session's, and names the node.
func TestLengthsAreSaidOnce(t *testing.T) {
	var log bytes.Buffer
	own := Times{Lease: 2 * time.Second}.withDefaults()
	c := &Coordinator{cfg: Config{Times: own}, log: hclog.New(&hclog.LoggerOptions{Output: &log})}
	m := &machine{}
	m.mu.state = fsm.New()
	l := &leading{v: &voter{c: c, machine: m}}
	run := func(commands ...fsm.Command) {
		t.Helper()
		entry, err := fsm.Encode(commands...)
		if err != nil {
			t.Fatal(err)
		}
		next, result := fsm.Apply(m.mu.state, m.mu.state.Index()+1, entry)
		if result.Fault != nil {
			t.Fatal(result.Fault)
		}
		m.mu.state = next
	}
	theirs := fsm.Lengths{Lease: 7 * time.Second, Autonomy: time.Minute}
	r := fsm.Renewal{Session: 1, Number: 1, Lengths: theirs}
	expect := func(when string, unsaid fsm.Lengths, waited time.Duration) {
		t.Helper()
		if got := l.unsaid(r); got != unsaid {
			t.Errorf("%s: %+v goes into the log, not %+v", when, got, unsaid)
		}
		if got := l.sayable(theirs); (got == theirs) != (m.mu.state.GroupVersion() >= fsm.LengthsSince) {
			t.Errorf("%s: a registration says %+v", when, got)
		}
		if got := l.waited(1); got != waited {
			t.Errorf("%s: it is waited for %s, not %s", when, got, waited)
		}
	}
	run(&fsm.Genesis{Group: "g", Voters: []fsm.Founder{{Node: "n1", Addr: "n1:1", Directory: "d"}}},
		&fsm.Register{Node: "n1", Directory: "d", Machine: "m", Addr: "n1:1", Nonce: "x"}, &fsm.RaiseVersion{To: fsm.LengthsSince - 1})
	expect("a voter of an earlier build", fsm.Lengths{}, 2*time.Second)
	run(&fsm.RaiseVersion{To: fsm.LengthsSince})
	expect("every voter reads it", theirs, 2*time.Second)
	run(&fsm.Renew{Items: []fsm.Renewal{r}})
	expect("it is in the log", fsm.Lengths{}, 7*time.Second)
	l.compareAll()
	if said := log.String(); !strings.Contains(said, "node=n1") || !strings.Contains(said, "lease=7s") {
		t.Errorf("the log says %q", said)
	}
	log.Reset()
	c.cfg.Times.Lease = 7 * time.Second
	if l.compareAll(); log.Len() > 0 {
		t.Errorf("of equal lengths the log says %q", log.String())
	}
}
