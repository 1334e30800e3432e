package simulation_test

import (
	"bytes"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"muster/internal/mutant"
)

// canaries are defects that the simulation must find. Each is a change of the cores, compiled in by an overlay, so
// the cores themselves know nothing of it.
var canaries = []canary{
	{
		name: "a session is ended when half its lease is over", finds: "acts in epoch", from: 662,
		edits: []edit{{"coordinator/plan/sessions.go", "at+b.lengths(id).Lease", "at+b.lengths(id).Lease/2"}},
	},
	{
		name: "a new owner does not wait for the old one's lease", finds: "(acts in epoch|I12:)", from: 9607,
		edits: []edit{{"coordinator/plan/recovery.go", "return max(0, m.left+b.lengths(p.ActiveSession).Lease-b.in.Now)", "return 0"}},
	},
	{
		name: "a read is answered by a lease that has run out", finds: "I12:", from: 1023,
		edits: []edit{{"region/route/route.go", "if now >= until {", "if false {"}},
	},
	{
		name: "the recovery quorum is counted over what is left", finds: "I(4|5|6|10):", from: 94,
		edits: []edit{{
			"shard/placement.go", "return len(p.Copies) - p.WriteQuorum + 1",
			"n := 0\n\tfor _, c := range p.Copies {\n\t\tif c.State == CopyReady {\n\t\t\tn++\n\t\t}\n\t}\n\treturn n - p.WriteQuorum + 1",
		}},
	},
	{
		name: "a promise is kept in memory", finds: "I2:", from: 1,
		edits: []edit{{"replication/copy.go", "\t\te.Write = c.log.write(Write{Promise: epoch})", "\t\tc.log.kept = epoch"}},
	},
	{
		name: "a learner is counted", finds: "I5:", from: 8,
		edits: []edit{{
			"replication/primary.go", "q := l.quorumIn(l.WriteQuorum, func(p *peer) bool { return p.member }, reached)",
			"q := l.quorumIn(l.WriteQuorum, func(*peer) bool { return true }, reached)",
		}},
	},
	{
		name: "a step-down is taken back", finds: "I(4|6|12|13|14):", from: 1,
		edits: []edit{{"replication/change.go", "\tc.stop(&e)\n\treturn e, true", "\treturn e, true"}},
	},
	{
		name: "a copy is removed by a map that is older than the copy", finds: "I8:", from: 14,
		edits: []edit{{"region/route/custody.go", "case h.Since == 0 || index < h.Since || h.Creating:", "case h.Creating:"}},
	},
	{
		name: "a learner that is to replace the primary is kept", finds: "I14:", from: 8,
		edits: []edit{{"coordinator/plan/flight.go", "case member && c.ID == p.Primary &&", "case false && member && c.ID == p.Primary &&"}},
	},
	{
		name: "an election goes by the length of the logs", finds: "I\\d+:", from: 111,
		edits: []edit{
			{"coordinator/plan/recovery.go", "b.last.Compare(a.last),", "cmp.Compare(b.last.LSN, a.last.LSN),"},
			{"coordinator/plan/recovery.go", "if a.last.Compare(w.last) <= 0 {", "if a.last.LSN <= w.last.LSN {"},
		},
	},
	{
		name: "a primary that nobody answers keeps its shard", finds: "I14: no copy answers", from: 1,
		edits: []edit{{"replication/leadership.go", "return alone && others", "return false && alone && others"}},
	},
	{
		name: "a maintenance never ends", finds: "I14:.*setting has not ended", from: 32,
		edits: []edit{{"coordinator/plan/ended.go", "; over(until) {", "; false && over(until) {"}},
	},
	{
		name: "a log starts after what is not confirmed", finds: "starts? after", from: 1,
		edits: []edit{{"replication/base.go", "lsn > min(c.log.confirmed, c.log.durable)", "lsn > c.log.last.LSN"}},
	},
	{
		name: "a shard goes on with one copy while its primary may confirm", finds: "I\\d+:", from: 6786,
		edits: []edit{{"coordinator/plan/evidence.go", ` || e.Quiet > 0 {`, ` {`}},
	},
	{
		name: "a lossy type goes on without its primary while that may confirm", finds: "I\\d+:", from: 423,
		edits: []edit{
			{"coordinator/plan/lossy.go", "return max(0, end+spec.LossyAfter-b.in.Now)", "return 0"},
			{"coordinator/plan/lossy.go", ` || e.Quiet > 0 {`, ` {`},
		},
	},
	{
		name: "a primary confirms for longer than the leader waits", finds: "and the shard went on without it", from: 2566,
		edits: []edit{{"shard/placement.go", "return whole - whole/100", "return whole + time.Minute"}},
	},
	{
		name: "a type that accepts no loss goes on without copies", finds: "nobody has accepted that", from: 9,
		edits: []edit{
			{"coordinator/plan/recovery.go", "case c.winner == 0 && spec.LossyAfter > 0:", "case c.winner == 0:"},
			{"fsm/promote.go", "case i.Lossy && spec.LossyAfter == 0:", "case false && spec.LossyAfter == 0:"},
		},
	},
	{
		name: "a lossy failover names the worst log it could go on with", finds: "as its history says, and \\d+ confirmed records are left", from: 298,
		edits: []edit{{"coordinator/plan/evidence.go", "best.copy == 0 || c.compare(best) < 0", "best.copy == 0 || c.compare(best) > 0"}},
	},
	{
		name: "a shard begins anew though a copy is back", finds: "begins with nothing, and its copy", from: 255,
		edits: []edit{{"fsm/anew.go", "case len(up) > 0:", "case false:"}},
	},
	{
		name: "what a shard goes on without is not kept aside", finds: "goes on without copy \\d+, kept aside false", from: 30,
		edits: []edit{{"fsm/promote.go", "all = append(all, shard.Aside{Copy: c, Epoch: p.Epoch + 1, Base: base})", "_ = base"}},
	},
	{
		name: "a write quorum that was lowered stays so", finds: "it could be higher", from: 38,
		edits: []edit{{"shard/placement.go", "return max(q.Now, min(q.Full, copies))", "return q.Now"}},
	},
	{
		name: "the lead is handed in one entry to a process that cannot begin an epoch so", finds: "I14:", from: 30,
		edits: []edit{{"coordinator/plan/news.go", "member && to != 0 && s.takes(to)", "member && to != 0"}},
	},
	{
		name: "rotten data are not reported", finds: "I14:", from: 14,
		edits: []edit{{"region/route/custody.go", `case h.Damage != "":`, `case h.Damage != "" && false:`}},
	},
	{
		name: "a directory is taken for one that was set back", finds: "I8: .* gives copy", from: 1,
		edits: []edit{
			{"fsm/register.go", "c.LastSession < l.Confirmed", "c.LastSession <= l.Confirmed"},
			{"fsm/register.go", "case d.next.version < confirmSince || forgotten == c.SetBack:", "case true:"},
		},
	},
	{
		name: "a directory that was set back counts", finds: "I8: .* was set back", from: 1,
		edits: []edit{{"fsm/register.go", "c.LastSession < l.Confirmed", "false"}},
	},
	{
		name: "a process answers before it is known what its directory is", finds: "I8: .* was set back", from: 1,
		edits: []edit{{"internal/simulation/custody.go", "if p.admits {", "if true {"}},
	},
	{
		name: "a snapshot is acknowledged before it is durable", finds: "I7:", from: 2,
		edits: []edit{{"replication/base.go", "l.durable = min(l.durable, shared)", "l.durable = base.LSN"}},
	},
	{
		name: "a session is waited for as long as the leader's own lease, whatever it said", finds: "acts in epoch", from: 788,
		edits: []edit{{"coordinator/plan/sessions.go", "if said, ok := b.in.State.Lengths(id); ok {", "if said, ok := b.in.State.Lengths(id); ok && false {"}},
	},
}

// canary is a defect. The search for it begins at a seed that found it once, which saves minutes; when the code has changed since
// it may go on for longer.
type canary struct {
	name, finds string
	from        uint64
	edits       []edit
}

// edit replaces the only place where a file has old.
type edit struct{ file, old, new string }

func (c *canary) mutant() mutant.Mutant {
	m := mutant.Mutant{From: strconv.FormatUint(c.from, 10)}
	for _, e := range c.edits {
		m.Edits = append(m.Edits, mutant.Edit{File: e.file, Before: e.old, After: e.new})
	}
	return m
}

// sampled: one canary of so many is built in a run of all tests, always the same. All of them take minutes: make sim MUTANTS=1.
const sampled = 3

// A judge that misses a planted defect judges nothing.
func TestCanariesAreFound(t *testing.T) {
	if testing.Short() {
		t.Skip("SKIPPED with -short: builds of the simulation with planted defects")
	}
	for i, c := range canaries {
		if !*mutants && i%sampled != 0 {
			continue
		}
		t.Run(c.name, func(t *testing.T) { hunt(t, c.mutant(), 2000, c.finds) })
	}
}

// TestMutantsAreFound takes the safeguards away that the explorer is tried with, one at a time. Building them takes minutes: make sim
// MUTANTS=1. That each says by which seed it is found is always looked at.
func TestMutantsAreFound(t *testing.T) {
	paths, err := filepath.Glob("../../testdata/mutants/*.txt")
	if err != nil || len(paths) == 0 {
		t.Fatalf("no mutants: %v", err)
	}
	for _, path := range paths {
		m, err := mutant.Read(path)
		if err != nil {
			t.Fatal(err)
		}
		if !*mutants {
			continue
		}
		t.Run(strings.TrimSuffix(filepath.Base(path), ".txt"), func(t *testing.T) {
			hunt(t, m, 10_000, "")
		})
	}
}

// hunt runs seeds over code with a defect planted, which must fail and say what it breaks.
func hunt(t *testing.T, m mutant.Mutant, seeds int, finds string) {
	t.Helper()
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	table, err := mutant.Overlay(root, t.TempDir(), m.Edits)
	if err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command("go", "test", "-vet=off", "-overlay", table, ".", "-run", "^TestSeeds$", "-args",
		"-from", m.From, "-n", strconv.Itoa(seeds)).CombinedOutput()
	line := regexp.MustCompile(`seed \d+ at .*` + finds + `.*`).Find(out)
	if err == nil || line == nil || bytes.Contains(line, []byte("panic: runtime error")) {
		t.Fatalf("not found in %d seeds: %v\n%s", seeds, err, out)
	}
	t.Logf("%s", line)
}
