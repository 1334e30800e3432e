package fsm_test

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/datadriven"

	"muster/barrier"
	"muster/fsm"
	"muster/shard"
)

const scripts = "../testdata/fsm"

// TestScripts runs the stories in testdata/fsm. Under `run` each line is an entry of its own, under `entry` all lines are
// one entry; what an entry changed is printed below. After each entry the whole of group.apply's checks hold.
func TestScripts(t *testing.T) {
	datadriven.Walk(t, scripts, func(t *testing.T, path string) {
		g := newGroup(t)
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
			g.t = t
			var out strings.Builder
			var together []fsm.Command
			for line := range strings.Lines(d.Input) {
				if said, done := g.tell(strings.Fields(line)); done {
					out.WriteString(said)
				} else if c := g.parse(line); d.Cmd == "entry" {
					together = append(together, c)
				} else {
					out.WriteString(under(line, g.run(c)))
				}
			}
			if len(together) > 0 {
				out.WriteString(g.run(together...))
			}
			return out.String()
		})
	})
}

// TestEveryCommandHasAScript walks the command table: each command is used by a script, survives the round trip as a blank
// one would, and is refused as a blank one, since no command makes sense empty.
func TestEveryCommandHasAScript(t *testing.T) {
	used := map[string]bool{}
	paths, err := filepath.Glob(filepath.Join(scripts, "*"))
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range paths {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(text)) {
			if words := strings.Fields(line); len(words) > 1 {
				used[words[0]] = true
			}
		}
	}
	for _, name := range fsm.Names() {
		if !used[name] {
			t.Errorf("no script in testdata/fsm uses the command %s", name)
		}
		if got := fsm.NameOf(fsm.Blank(name)); got != name {
			t.Errorf("%s is called %s", name, got)
		}
	}
}

// tell answers the lines that are no commands.
func (g *group) tell(words []string) (string, bool) {
	switch words[0] {
	case "type":
		g.specs[words[1]] = g.spec(words)
		return "", true
	case "gate":
		gate := g.state.Gate()
		return fmt.Sprintf("%d of %d required are up, met: %t, missing: %v\n", gate.Have, gate.Required, gate.Met, gate.Missing), true
	case "shards":
		var out strings.Builder
		for _, p := range g.state.View.Whole().Placements {
			out.WriteString(describe(&p))
		}
		return out.String(), true
	case "lengths":
		l, said := g.state.Lengths(shard.SessionID(g.number(words[1])))
		if !said {
			return fmt.Sprintf("session %s has said no lengths, or nobody waits for it any more\n", words[1]), true
		}
		return fmt.Sprintf("session %s: lease %s, autonomy %s\n", words[1], l.Lease, l.Autonomy), true
	case "history":
		id, err := shard.ParseID(words[1])
		if err != nil {
			g.t.Fatal(err)
		}
		return past(g.state.History(id)), true
	}
	return "", false
}

func (g *group) spec(words []string) shard.Spec {
	s := shard.Spec{Name: shard.TypeName(words[1]), Shards: 1, AckTimeout: shard.DefaultAckTimeout}
	for _, w := range words[2:] {
		key, value, _ := strings.Cut(w, "=")
		switch key {
		case "shards":
			s.Shards = uint32(g.number(value))
		case "replicas":
			s.Replicas = int(g.number(value))
		case "min-acks":
			s.MinAcks = int(g.number(value))
		case "role":
			s.Role = value
		case "lossy":
			s.LossyAfter = g.duration(value)
		case "strategy":
			s.Strategy = shard.Strategy(value)
		case "volatile":
			s.Volatile = true
		default:
			g.t.Fatalf("type: no option %q", w)
		}
	}
	return s
}

func (g *group) number(s string) uint64 {
	g.t.Helper()
	n, err := strconv.ParseUint(s, 10, 64)
	if err != nil {
		g.t.Fatal(err)
	}
	return n
}

func (g *group) duration(s string) time.Duration {
	g.t.Helper()
	d, err := time.ParseDuration(s)
	if err != nil {
		g.t.Fatal(err)
	}
	return d
}

// parse reads one command line. Batched commands separate their items by commas.
func (g *group) parse(line string) fsm.Command {
	words := strings.Fields(line)
	name, rest := words[0], words[1:]
	items := strings.Split(strings.TrimSpace(strings.TrimPrefix(strings.TrimSpace(line), name)), ",")
	switch name {
	case "genesis":
		c := &fsm.Genesis{Group: shard.GroupID(rest[0])}
		for _, node := range rest[1:] {
			c.Voters = append(c.Voters, founder(node))
		}
		return c
	case "register":
		return g.parseRegister(rest)
	case "renew":
		return g.parseRenew(rest)
	case "expire":
		return &fsm.Expire{Session: shard.SessionID(g.number(rest[0])), LastRenewal: g.number(strings.TrimPrefix(rest[1], "renewed="))}
	case "raise-version":
		return &fsm.RaiseVersion{To: byte(g.number(rest[0]))}
	case "depart":
		return &fsm.Depart{Session: shard.SessionID(g.number(rest[0]))}
	case "require-quorum":
		n, err := strconv.Atoi(rest[0])
		if err != nil {
			g.t.Fatal(err)
		}
		return &fsm.RequireQuorum{Members: n}
	case "arrive":
		parties, err := strconv.Atoi(rest[1])
		if err != nil {
			g.t.Fatal(err)
		}
		participant, session, request := g.party(rest[2])
		return &fsm.Arrive{Name: rest[0], Parties: parties, Participant: participant, Session: session, Request: request}
	case "withdraw":
		participant, session, request := g.party(rest[1])
		return &fsm.Withdraw{Name: rest[0], Participant: participant, Session: session, Request: request}
	case "mark":
		return g.parseMark(rest)
	case "leave":
		return &fsm.Leave{Session: shard.SessionID(g.number(rest[0]))}
	case "pause":
		c := &fsm.Pause{On: rest[0] == "on"}
		for _, w := range rest[1:] {
			g.parseEnd(w, &c.Until, &c.Ended)
		}
		return c
	case "remove":
		return &fsm.Remove{Node: shard.NodeID(rest[0])}
	}
	return g.parseShards(name, items)
}

// parseMark reads NODE and marks: +cordoned sets one, -cordoned lifts it.
func (g *group) parseMark(words []string) *fsm.Mark {
	c := &fsm.Mark{Node: shard.NodeID(words[0])}
	for _, w := range words[1:] {
		if g.parseEnd(w, &c.Until, &c.Ended) {
			continue
		}
		on := w[0] == '+'
		switch w[1:] {
		case "cordoned":
			c.Cordoned = &on
		case "draining":
			c.Draining = &on
		case "maintenance":
			c.Maintenance = &on
		default:
			g.t.Fatalf("mark: no mark %q", w)
		}
	}
	return c
}

// parseEnd reads until=TIME or ended=TIME.
func (g *group) parseEnd(word string, until, ended *int64) bool {
	key, value, _ := strings.Cut(word, "=")
	switch key {
	case "until":
		*until = int64(g.number(value))
	case "ended":
		*ended = int64(g.number(value))
	default:
		return false
	}
	return true
}

// parseRenew reads SESSION/NUMBER[/LEASE+AUTONOMY], ... and perhaps the leader's time.
func (g *group) parseRenew(words []string) *fsm.Renew {
	c := &fsm.Renew{}
	if last := len(words) - 1; strings.HasPrefix(words[last], "time=") {
		c.Time, words = int64(g.number(strings.TrimPrefix(words[last], "time="))), words[:last]
	}
	for _, i := range strings.Split(strings.Join(words, " "), ",") {
		parts := append(strings.Split(strings.TrimSpace(i), "/"), "")
		one := fsm.Renewal{Session: shard.SessionID(g.number(parts[0])), Number: g.number(parts[1])}
		if lease, autonomy, said := strings.Cut(parts[2], "+"); said {
			one.Lengths = fsm.Lengths{Lease: g.duration(lease), Autonomy: g.duration(autonomy)}
		}
		c.Items = append(c.Items, one)
	}
	return c
}

func (g *group) parseRegister(words []string) *fsm.Register {
	node := words[0]
	c := &fsm.Register{Node: shard.NodeID(node), Directory: "dir-" + shard.DirectoryID(node), Machine: "machine-" + shard.MachineID(node),
		Addr: node + ":7420", Nonce: "first"}
	for _, w := range words[1:] {
		key, value, _ := strings.Cut(w, "=")
		switch key {
		case "directory":
			c.Directory = shard.DirectoryID(value)
		case "machine":
			c.Machine = shard.MachineID(value)
		case "nonce":
			c.Nonce = value
		case "zone":
			c.Zone = value
		case "addr":
			c.Addr = value
		case "roles":
			c.Roles = strings.Split(value, ",")
		case "lengths":
			lease, autonomy, _ := strings.Cut(value, "+")
			c.Lengths = fsm.Lengths{Lease: g.duration(lease), Autonomy: g.duration(autonomy)}
		case "stored":
			c.LastSession = shard.SessionID(g.number(value))
		case "lacks":
			c.SetBack = shard.SessionID(g.number(value))
		case "fenced":
			c.Fenced = true
		case "hosts":
			for _, name := range strings.Split(value, ",") {
				c.Hosts = append(c.Hosts, g.specs[name])
			}
		default:
			g.t.Fatalf("register: no option %q", w)
		}
	}
	return c
}

// parseShards reads the commands about shards. An item begins with SHARD@EPOCH.VERSION, or SHARD alone for a copy's report.
func (g *group) parseShards(name string, items []string) fsm.Command {
	c := fsm.Blank(name)
	if r, ok := c.(*fsm.BeginRecovery); ok {
		cause, first, _ := strings.Cut(items[0], " ")
		r.Cause, items[0] = shard.Cause(cause), first
	}
	for _, item := range items {
		words := strings.Fields(item)
		at, position, _ := strings.Cut(words[0], "@")
		id, err := shard.ParseID(at)
		if err != nil {
			g.t.Fatalf("%s %s: %v", name, item, err)
		}
		var epoch shard.Epoch
		var version shard.ConfigVersion
		if _, err := fmt.Sscanf(position, "%d.%d", &epoch, &version); err != nil && position != "" {
			g.t.Fatalf("%s %s: %v", name, item, err)
		}
		to := g.options(words[1:])
		switch c := c.(type) {
		case *fsm.AddLearner:
			c.Items = append(c.Items, fsm.NewLearner{Shard: id, Epoch: epoch, Version: version, Node: shard.NodeID(words[1]), Replaces: to.replaces})
		case *fsm.DropLearner:
			c.Items = append(c.Items, fsm.LearnerItem{Shard: id, Copy: shard.CopyID(g.number(words[1]))})
		case *fsm.Reconfig:
			c.Items = append(c.Items, fsm.Reconfiguration{Shard: id, Epoch: epoch, Version: version, Session: to.session, Copies: to.copies, WriteQuorum: to.quorum})
		case *fsm.Promote, *fsm.Discard, *fsm.Degrade:
			g.parseUnclean(c, fsm.Promotion{Shard: id, Epoch: epoch, Version: version, Copy: to.copy, Base: to.base, Lossy: slices.Contains(words, "lossy"), Kept: to.copies}, words, to)
		case *fsm.Wish:
			c.Items = append(c.Items, fsm.Wishing{Shard: id, Epoch: epoch, Version: version, To: to.copy, Node: to.node})
		case *fsm.HandOver:
			c.Items = append(c.Items, fsm.Handing{Shard: id, Epoch: epoch, Version: version, Session: to.session, To: to.copy, Node: to.node})
		case *fsm.Pin:
			c.Shard, c.Node = id, shard.NodeID(words[1])
			if words[1] == "nowhere" {
				c.Node = ""
			}
		case *fsm.Place:
			c.Items = append(c.Items, fsm.Placing{Shard: id, Epoch: epoch, Version: version, Nodes: nodes(words[1:])})
		case *fsm.BeginAnew:
			c.Items = append(c.Items, fsm.Placing{Shard: id, Epoch: epoch, Version: version, Nodes: nodes(words[1:])})
		case *fsm.CopyReady:
			c.Items = append(c.Items, g.copyItem(id, words))
		case *fsm.CopyLost:
			c.Items = append(c.Items, g.copyItem(id, words))
		case *fsm.BeginRecovery:
			c.Items = append(c.Items, fsm.Recovery{Shard: id, Epoch: epoch, Version: version})
		case *fsm.Elect:
			e := g.election(words)
			e.Shard, e.Epoch, e.Version = id, epoch, version
			c.Items = append(c.Items, e)
		case *fsm.Activate:
			session := shard.SessionID(g.number(strings.TrimPrefix(words[1], "session=")))
			c.Items = append(c.Items, fsm.Activation{Shard: id, Epoch: epoch, Version: version, Session: session})
		default:
			g.t.Fatalf("no command %q", name)
		}
	}
	return c
}

// parseUnclean adds an item to one of the commands that are for when too many copies are gone.
func (g *group) parseUnclean(c fsm.Command, p fsm.Promotion, words []string, to target) {
	switch c := c.(type) {
	case *fsm.Promote:
		c.Items = append(c.Items, p)
	case *fsm.Discard:
		c.Shard, c.Copy = p.Shard, shard.CopyID(g.number(words[1]))
	case *fsm.Degrade:
		c.Items = append(c.Items, fsm.Degrading{Shard: p.Shard, Epoch: p.Epoch, Version: p.Version, Floor: to.floor})
	}
}

// target is what the words of an item about a move say.
type target struct {
	session  shard.SessionID
	copy     shard.CopyID
	node     shard.NodeID
	replaces shard.CopyID
	copies   []shard.CopyID
	quorum   int
	floor    int
	base     shard.Position
}

func (g *group) options(words []string) target {
	t := target{quorum: 2}
	for _, w := range words {
		key, value, _ := strings.Cut(w, "=")
		switch key {
		case "session":
			t.session = shard.SessionID(g.number(value))
		case "to":
			t.copy = shard.CopyID(g.number(value))
		case "node":
			t.node = shard.NodeID(value)
		case "replaces":
			t.replaces = shard.CopyID(g.number(value))
		case "quorum":
			t.quorum = int(g.number(value))
		case "floor":
			t.floor = int(g.number(value))
		case "copy":
			t.copy = shard.CopyID(g.number(value))
		case "base":
			t.base = g.position(value)
		case "copies":
			for _, id := range strings.Split(value, "+") {
				t.copies = append(t.copies, shard.CopyID(g.number(id)))
			}
		}
	}
	return t
}

func nodes(words []string) []shard.NodeID {
	var ids []shard.NodeID
	for _, w := range words {
		ids = append(ids, shard.NodeID(w))
	}
	return ids
}

// copyItem reads SHARD COPY@NODE, or COPY@DIRECTORY when that is not the node's usual one.
func (g *group) copyItem(id shard.ID, words []string) fsm.CopyItem {
	number, directory, _ := strings.Cut(words[1], "@")
	if !strings.Contains(directory, "-") {
		directory = "dir-" + directory
	}
	return fsm.CopyItem{Shard: id, Copy: shard.CopyID(g.number(number)), Directory: shard.DirectoryID(directory)}
}

func (g *group) election(words []string) fsm.Election {
	var e fsm.Election
	for _, w := range words[1:] {
		key, value, _ := strings.Cut(w, "=")
		switch key {
		case "copy":
			e.Copy = shard.CopyID(g.number(value))
		case "session":
			e.Session = shard.SessionID(g.number(value))
		case "answered":
			for _, id := range strings.Split(value, "+") {
				e.Answered = append(e.Answered, shard.CopyID(g.number(id)))
			}
		case "base":
			e.Base = g.position(value)
		case "cut":
			e.Cut = shard.LSN(g.number(value))
		}
	}
	return e
}

// position reads LSN@EPOCH.
func (g *group) position(s string) (p shard.Position) {
	if _, err := fmt.Sscanf(s, "%d@%d", &p.LSN, &p.Epoch); err != nil {
		g.t.Fatalf("position %s: %v", s, err)
	}
	return p
}

func (g *group) party(s string) (string, shard.SessionID, uint64) {
	name, call, _ := strings.Cut(s, "@")
	session, request, _ := strings.Cut(call, "/")
	return name, shard.SessionID(g.number(session)), g.number(request)
}

// run applies one entry and says what it changed.
func (g *group) run(commands ...fsm.Command) string {
	result := g.apply(encode(g.t, commands...))
	var out strings.Builder
	if result.Fault != nil {
		fmt.Fprintf(&out, "entry refused: %v\n", result.Fault)
	}
	for i, v := range result.Verdicts {
		out.WriteString(judge(commands[i], v))
	}
	out.WriteString(changes(&result.Delta))
	for _, r := range result.Releases {
		fmt.Fprintf(&out, "barrier %s opens, generation %d: %v\n", r.Name, r.Generation, r.Outcome().Participants)
	}
	if out.Len() == 0 {
		return "nothing changes\n"
	}
	return out.String()
}

// under puts what happened beside the line that caused it, or below when it is more than one line.
func under(line, happened string) string {
	words := strings.Fields(line)
	head := strings.Join(words[:min(2, len(words))], " ")
	if strings.Count(happened, "\n") == 1 {
		return head + " → " + happened
	}
	return head + "\n  " + strings.TrimSuffix(strings.ReplaceAll(happened, "\n", "\n  "), "  ")
}

func judge(c fsm.Command, v fsm.Verdict) string {
	var out strings.Builder
	if v.Fault != nil {
		fmt.Fprintf(&out, "refused: %v\n", v.Fault)
	}
	for i, f := range v.Faults {
		if f != nil {
			fmt.Fprintf(&out, "item %d refused: %v\n", i+1, f)
		}
	}
	if v.Again {
		fmt.Fprintf(&out, "session %d, again\n", v.Session)
	}
	if b := v.Barrier; b != nil {
		fmt.Fprintf(&out, "%s: %s", fsm.NameOf(c), b.State)
		if b.State == barrier.Waiting {
			fmt.Fprintf(&out, " (%d of %d)", b.Arrived, b.Parties)
		}
		out.WriteString("\n")
	}
	return out.String()
}

// changes prints a delta for a person.
func changes(d *shard.Delta) string {
	var out strings.Builder
	if d.Group != "" {
		fmt.Fprintf(&out, "group %s\n", d.Group)
	}
	for _, id := range d.Ended {
		fmt.Fprintf(&out, "session %d ends\n", id)
	}
	for _, id := range d.Removed {
		fmt.Fprintf(&out, "member %s is gone\n", id)
	}
	for _, m := range d.Members {
		fmt.Fprintf(&out, "member %s: %s", m.ID, m.Directory)
		if m.Session != 0 {
			fmt.Fprintf(&out, ", session %d", m.Session)
		}
		if len(m.Hosts) > 0 {
			fmt.Fprintf(&out, ", hosts %v", m.Hosts)
		}
		for _, mark := range []struct {
			on   bool
			name string
		}{{m.Cordoned, "cordoned"}, {m.Draining, "draining"}, {m.Maintenance, "maintenance"}, {m.Leaving, "leaving"}} {
			if mark.on {
				out.WriteString(", " + mark.name)
			}
		}
		if m.Until != 0 {
			fmt.Fprintf(&out, " until %d", m.Until)
		}
		out.WriteString("\n")
	}
	for _, s := range d.Types {
		fmt.Fprintf(&out, "type %s: %d shards, write quorum %d of %d\n", s.Name, s.Shards, s.WriteQuorum(), s.Replicas+1)
	}
	placements := slices.Clone(d.Placements)
	slices.SortFunc(placements, func(a, b shard.Placement) int { return a.Shard.Compare(b.Shard) })
	for i := range placements {
		out.WriteString(describe(&placements[i]))
	}
	if d.Required != nil {
		fmt.Fprintf(&out, "required quorum: %d\n", *d.Required)
	}
	if d.Paused != nil {
		fmt.Fprintf(&out, "paused: %t", *d.Paused)
		if d.PausedUntil != 0 {
			fmt.Fprintf(&out, " until %d", d.PausedUntil)
		}
		out.WriteString("\n")
	}
	return out.String()
}

func describe(p *shard.Placement) string {
	var out strings.Builder
	fmt.Fprintf(&out, "%s: %s, epoch %d.%d", p.Shard, p.Status, p.Epoch, p.Version)
	if p.Primary != 0 {
		fmt.Fprintf(&out, ", primary %d", p.Primary)
	}
	if p.Session != 0 {
		fmt.Fprintf(&out, " on %s by session %d", p.Node, p.Session)
	}
	if len(p.Copies) > 0 {
		out.WriteString(", copies")
	}
	for _, c := range p.Copies {
		fmt.Fprintf(&out, " %d@%s", c.ID, c.Node)
		if c.State != shard.CopyReady {
			fmt.Fprintf(&out, "(%s)", c.State)
		}
		if c.ID == p.Retiring {
			out.WriteString("(retiring)")
		}
	}
	for _, l := range p.Learners {
		fmt.Fprintf(&out, ", learner %d@%s(%s)", l.Copy.ID, l.Copy.Node, l.Copy.State)
		if l.Replaces != 0 {
			fmt.Fprintf(&out, " for %d", l.Replaces)
		}
	}
	for _, a := range p.Aside {
		fmt.Fprintf(&out, ", %d@%s kept aside since epoch %d", a.Copy.ID, a.Copy.Node, a.Epoch)
	}
	if p.Floor != 0 {
		fmt.Fprintf(&out, ", write quorum %d, allowed down to %d", p.WriteQuorum, p.Floor)
	} else if len(p.Aside) > 0 {
		fmt.Fprintf(&out, ", write quorum %d", p.WriteQuorum)
	}
	if p.Stalled != 0 {
		fmt.Fprintf(&out, ", %d stalled", p.Stalled)
	}
	if p.HandTo != 0 {
		fmt.Fprintf(&out, ", wished to %d on %s", p.HandTo, p.HandNode)
	} else if p.Wished() {
		fmt.Fprintf(&out, ", wished to %s", p.HandNode)
	}
	if p.Status != shard.Active && p.ActiveEpoch > 0 && p.ActiveSession == 0 {
		out.WriteString(", nobody to wait for")
	}
	if p.Pinned != "" {
		fmt.Fprintf(&out, ", pinned to %s", p.Pinned)
	}
	fmt.Fprintf(&out, " (%s)\n", p.Cause)
	return out.String()
}

// past prints a history for a person.
func past(changes []fsm.Change) string {
	var out strings.Builder
	for _, c := range changes {
		fmt.Fprintf(&out, "entry %d", c.Index)
		if c.Time != 0 {
			fmt.Fprintf(&out, " at %d", c.Time)
		}
		fmt.Fprintf(&out, ": %d.%d %s, %s", c.Epoch, c.Version, c.Status, c.Cause)
		if c.Node != "" {
			fmt.Fprintf(&out, ", led by %d@%s", c.Primary, c.Node)
		}
		if c.HandNode != "" {
			fmt.Fprintf(&out, ", wished to %s", c.HandNode)
		}
		if c.Base != (shard.Position{}) {
			fmt.Fprintf(&out, ", log %s", c.Base)
			if c.Cut > 0 {
				fmt.Fprintf(&out, " without %d records of another", c.Cut)
			}
		}
		fmt.Fprintf(&out, ", C %s", seats(c.Copies))
		if len(c.Learners) > 0 {
			fmt.Fprintf(&out, ", learners %s", seats(c.Learners))
		}
		if len(c.GivenUp) > 0 {
			fmt.Fprintf(&out, ", without %s", seats(c.GivenUp))
		}
		out.WriteString("\n")
	}
	return out.String()
}

func seats(all []fsm.Seat) string {
	words := make([]string, len(all))
	for i, s := range all {
		words[i] = fmt.Sprintf("%d@%s", s.Copy, s.Node)
		if s.Lost {
			words[i] += "(lost)"
		}
	}
	return "[" + strings.Join(words, " ") + "]"
}
