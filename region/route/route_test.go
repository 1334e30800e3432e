package route_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/datadriven"

	"muster/region/route"
	"muster/shard"
)

// TestScripts runs the gallery in testdata/route: each script builds a map line by line and asks where envelopes go.
// To see one again: go test ./region/route -run 'TestScripts/<file>'.
func TestScripts(t *testing.T) {
	datadriven.Walk(t, "../../testdata/route", func(t *testing.T, path string) {
		s := script{view: shard.NewView(), self: route.Self{}}
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string { return s.run(t, d) })
	})
}

type script struct {
	view *shard.View
	self route.Self
}

func (s *script) run(t *testing.T, d *datadriven.TestData) string {
	switch d.Cmd {
	case "map":
		return s.change(t, d.Input)
	case "self":
		d.ScanArgs(t, "node", (*string)(&s.self.Node))
		d.ScanArgs(t, "session", (*uint64)(&s.self.Session))
		return ""
	case "route":
		var out strings.Builder
		for _, line := range strings.Split(d.Input, "\n") {
			var typ, entity string
			fmt.Sscan(line, &typ, &entity)
			fmt.Fprintln(&out, route.Decide(s.view, s.self, shard.TypeName(typ), shard.EntityID(entity)))
		}
		return out.String()
	case "accept":
		return s.accept(t, d)
	case "leased":
		return s.leased(t, d)
	case "after":
		return after(t, d)
	}
	t.Fatalf("%s: unknown directive %s", d.Pos, d.Cmd)
	return ""
}

// change applies one delta; each line adds to it.
func (s *script) change(t *testing.T, input string) string {
	delta := &shard.Delta{Index: s.view.Index + 1}
	for _, line := range strings.Split(input, "\n") {
		verb, rest, _ := strings.Cut(line, " ")
		var err error
		switch verb {
		case "type":
			spec := shard.Spec{AckTimeout: shard.DefaultAckTimeout}
			_, err = fmt.Sscanf(rest, "%s shards=%d", &spec.Name, &spec.Shards)
			delta.Types = append(delta.Types, spec)
		case "member":
			var m shard.Member
			_, err = fmt.Sscanf(rest, "%s addr=%s session=%d", &m.ID, &m.Addr, &m.Session)
			delta.Members = append(delta.Members, m)
			delta.Sessions = append(delta.Sessions, shard.Session{ID: m.Session, Node: m.ID})
		case "ended":
			var id shard.SessionID
			_, err = fmt.Sscan(rest, &id)
			delta.Ended = append(delta.Ended, id)
		case "place":
			var p shard.Placement
			p, err = placement(rest)
			delta.Placements = append(delta.Placements, p)
		default:
			err = fmt.Errorf("unknown verb")
		}
		if err != nil {
			t.Fatalf("map line %q: %v", line, err)
		}
	}
	v, err := s.view.With(delta)
	if err != nil {
		return err.Error()
	}
	s.view = v
	return ""
}

func placement(line string) (p shard.Placement, err error) {
	words := strings.Fields(line)
	if p.Shard, err = shard.ParseID(words[0]); err != nil {
		return p, err
	}
	status := map[string]shard.Status{"forming": shard.Forming, "establishing": shard.Establishing, "active": shard.Active, "recovering": shard.Recovering}
	p.Status = status[words[1]]
	_, err = fmt.Sscanf(words[2], "epoch=%d", &p.Epoch)
	if len(words) > 3 && err == nil {
		_, err = fmt.Sscanf(strings.Join(words[3:], " "), "node=%s session=%d", &p.Node, &p.Session)
	}
	return p, err
}

func (s *script) accept(t *testing.T, d *datadriven.TestData) string {
	var name string
	var epoch uint64
	d.ScanArgs(t, "shard", &name)
	d.ScanArgs(t, "epoch", &epoch)
	id, err := shard.ParseID(name)
	if err != nil {
		t.Fatal(err)
	}
	fault := route.Accept(s.view, s.self, id, shard.Epoch(epoch))
	if fault == nil {
		return "runs here"
	}
	return described(fault)
}

// leased says of each line, a shard, an epoch that it is led in, until when the lease runs and now in seconds, whether the lease will do.
func (s *script) leased(t *testing.T, d *datadriven.TestData) string {
	var out strings.Builder
	for _, line := range strings.Split(d.Input, "\n") {
		var name string
		var epoch shard.Epoch
		var until, now time.Duration
		if _, err := fmt.Sscanf(line, "%s epoch=%d until=%d now=%d", &name, &epoch, &until, &now); err != nil {
			t.Fatalf("line %q: %v", line, err)
		}
		id, err := shard.ParseID(name)
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintln(&out, route.Leased(s.view, s.self, id, epoch, until*time.Second, now*time.Second))
	}
	return out.String()
}

func after(t *testing.T, d *datadriven.TestData) string {
	var fault shard.Error
	var routed uint64
	d.ScanArgs(t, "code", (*string)(&fault.Code))
	d.ScanArgs(t, "routed", &routed)
	optional := map[string]any{"epoch": (*uint64)(&fault.Epoch), "node": (*string)(&fault.Node), "addr": &fault.Addr}
	for name, value := range optional {
		if d.HasArg(name) {
			d.ScanArgs(t, name, value)
		}
	}
	return route.After(&fault, shard.Epoch(routed)).String()
}

func described(f *shard.Error) string {
	s := f.Error()
	if f.Node != "" {
		s += fmt.Sprintf(" → %s at %s", f.Node, f.Addr)
	}
	return s
}
