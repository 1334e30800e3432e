package main

import (
	"os"
	"testing"
	"time"
)

func TestMain(m *testing.M) {
	if settings := os.Getenv(memberVariable); settings != "" {
		exit(runMember(settings))
	}
	os.Exit(m.Run())
}

// The guard: a short run of real processes, judged by ratios that hold on a machine that is busy with other things, and far from
// what is usual. It finds a group commit that no longer gathers, a reply that is wrong, a command that was lost, and commands that
// pass twice through the disk; make bench finds the rest.
func TestGuard(t *testing.T) {
	if testing.Short() {
		t.Skip("starts three processes and loads them for seconds")
	}
	b := &bench{dir: t.TempDir(), repeats: 1, warm: 200 * time.Millisecond, length: 1500 * time.Millisecond, out: t.Output()}
	defer b.end()
	k := kindSettings{Name: "durable", Shards: durableP1, Replicas: 2, MinAcks: 1}
	g, err := b.newGroup(3, false, k)
	if err != nil {
		t.Fatal(err)
	}
	w := work{Kind: k.Name, Entities: 1000, Where: anywhere}
	s := g.ask(fromAny, w)
	f := bout{bench: b, row: "P1", callers: []int{1, 256}, systems: []system{s}, durable: true}.run()
	if err := g.audit(w); err != nil {
		t.Error(err)
	}
	one, many := f.find(fromAny, callersOf(1)), f.find(fromAny, callersOf(256))
	for _, f := range []*Figure{one, many} {
		if f.Void != "" {
			t.Fatalf("%s: void: %s", f.Load, f.Void)
		}
	}
	for _, c := range []struct {
		what        string
		value, most float64
	}{
		{"CPU of an event, 256 callers ÷ 1 caller", median(many.Metrics[mCPU]) / median(one.Metrics[mCPU]), 0.15},
		{"rate, 1 caller ÷ 256 callers", median(one.Metrics[mRate]) / median(many.Metrics[mRate]), 0.15},
		{"flushes ÷ event, 256 callers", 1 / median(many.Metrics[mShared]), 0.3},
		{"pages written ÷ event and copy, 256 callers", median(many.Metrics[mPages]) / copies / eventSize, 12},
	} {
		t.Logf("%s: %.3g, at most %.3g", c.what, c.value, c.most)
		if c.value > c.most {
			t.Errorf("%s is %.3g, far above what is usual; the most is %.3g", c.what, c.value, c.most)
		}
	}
}
