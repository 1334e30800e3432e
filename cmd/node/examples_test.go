package main

import (
	"bytes"
	"context"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
)

// Every example in the help does what the help says: it is run against a real group, and each line of the output shown there
// is a line of what it prints, whatever the numbers and addresses are.
func TestExamplesAreTrue(t *testing.T) {
	g := &devGroup{Dir: t.TempDir()}
	if err := g.place(3); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := g.start(ctx, hclog.NewNullLogger()); err != nil {
		t.Fatal(err)
	}
	defer g.stop()
	var addrs []string
	for _, n := range g.Nodes {
		addrs = append(addrs, n.Addr)
	}
	environ := []string{"MUSTER_ADDR=" + strings.Join(addrs, ",")}

	list := verbs()
	list = slices.Concat(list, barrierVerb.verbs, quorumVerb.verbs, raftVerb.verbs)
	for _, v := range list {
		switch {
		case v.body == nil:
			continue
		case v.use == devVerb.use:
			checkExample(t, v, shown(g))
		case v.use == journalVerifyVerb.use, v.use == journalDumpVerb.use:
			continue // they are for a node that is stopped; the transcripts run them
		case v.use == serveVerb.use:
			continue // it serves until interrupted; the transcripts run it
		case v.use == removeVerb.use, v.use == recoverVerb.use, v.use == degradeVerb.use:
			checkExample(t, v, runFor(t, environ, v.example, exitRefused))
		case v.use == barrierListVerb.use:
			stop := waitAtBarrier(t, environ)
			checkExample(t, v, runLine(t, environ, v.example))
			stop()
		default:
			checkExample(t, v, runLine(t, environ, v.example))
		}
	}
}

func shown(g *devGroup) string {
	var b bytes.Buffer
	g.Temporary = true
	(&terminal{out: &b}).show(g, g.table)
	return b.String()
}

func runLine(t *testing.T, environ []string, line string) string {
	t.Helper()
	return runFor(t, environ, line, exitDone)
}

// runFor runs a line that must end with the code, and returns what it prints: the error when it fails.
func runFor(t *testing.T, environ []string, line string, want int) string {
	t.Helper()
	var out, errs bytes.Buffer
	args := strings.Fields(strings.ReplaceAll(line, "'", ""))[1:]
	if code := run(args, &terminal{out: &out, err: &errs, environ: environ}); code != want {
		t.Errorf("%s: code %d, %s", line, code, errs.String())
	}
	if want != exitDone {
		return errs.String()
	}
	return out.String()
}

// waitAtBarrier puts a party where the example of barrier list shows one, and returns what takes it away.
func waitAtBarrier(t *testing.T, environ []string) (stop func()) {
	arrive := func(parties, name string, out *bytes.Buffer) int {
		args := []string{"barrier", "wait", "deploy", "--parties", parties, "--participant", name}
		return run(args, &terminal{out: out, err: out, environ: environ})
	}
	done := make(chan int, 1)
	var out bytes.Buffer
	go func() { done <- arrive("3", "web-1", &out) }()
	poll, limit := time.NewTicker(10*time.Millisecond), time.After(patience)
	defer poll.Stop()
	for !strings.Contains(runLine(t, environ, "muster barrier list"), "web-1") {
		select {
		case <-poll.C:
		case <-limit:
			t.Fatal("nobody waits at the barrier")
		}
	}
	return func() {
		second := make(chan int, 1)
		var others [2]bytes.Buffer
		go func() { second <- arrive("3", "web-2", &others[0]) }()
		if code := arrive("3", "web-3", &others[1]); code != 0 || <-second != 0 || <-done != 0 {
			t.Errorf("the barrier did not open: %s%s%s", out.String(), others[0].String(), others[1].String())
		}
	}
}

var (
	uuids    = regexp.MustCompile(`[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}`)
	paths    = regexp.MustCompile(`/\S*`)
	versions = regexp.MustCompile(`commit \w+, go[\d.]+`)
	moments  = regexp.MustCompile(`^(-|(before )?\d{4}-\d\d-\d\dT\S+Z) `) // the first seconds of a group have no time yet
	outages  = regexp.MustCompile(`[\d.hm]*\d(ms|s|m|h)( +\S+)$`)         // nor is it known then how long a shard had no primary
	digits   = regexp.MustCompile(`\d+`)
	blanks   = regexp.MustCompile(` +`)
)

// masked leaves of a line what is the same in every group.
func masked(line string) string {
	line = uuids.ReplaceAllString(line, "UUID")
	line = versions.ReplaceAllString(line, "BUILD")
	if strings.Contains(line, "data in") {
		line = paths.ReplaceAllString(line, "PATH")
	}
	line = moments.ReplaceAllString(line, "TIME ")
	line = outages.ReplaceAllString(line, "-$2")
	line = digits.ReplaceAllString(line, "0")
	return strings.TrimSpace(blanks.ReplaceAllString(line, " "))
}

func checkExample(t *testing.T, v verb, printed string) {
	t.Helper()
	lines := map[string]bool{}
	for _, line := range strings.Split(printed, "\n") {
		lines[masked(line)] = true
	}
	for _, line := range strings.Split(v.output, "\n") {
		if !lines[masked(line)] {
			t.Errorf("%s: the help shows %q, but it prints\n%s", v.example, line, printed)
		}
	}
}
