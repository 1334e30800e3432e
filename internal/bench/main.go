// Command bench measures Muster beside what limits it and beside others, and judges the goals.
//
//	make bench                        everything, in at most 20 minutes
//	make bench ROWS=P1,P4 QUICK=1     some rows, soon
//
// It starts groups of real processes on loopback: this program again, as a member (see member.go). References are processes
// of the program in the folder reference. They take turns under the same loads (see bout.go), and what is judged is the
// ratio of neighbours.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"
)

func main() {
	if settings := os.Getenv(memberVariable); settings != "" {
		exit(runMember(settings))
	}
	exit(run(os.Args[1:]))
}

func exit(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
	os.Exit(0)
}

func run(args []string) error {
	if len(args) == 0 {
		return errors.New("usage: bench run [flags]; bench docs RESULT; bench compare OLD NEW")
	}
	switch verb, args := args[0], args[1:]; verb {
	case "run":
		return runBench(args)
	case "docs", "compare":
		return report(verb, args)
	default:
		return fmt.Errorf("nothing is called %q", verb)
	}
}

func runBench(args []string) error {
	flags := flag.NewFlagSet("bench run", flag.ContinueOnError)
	which := flags.String("rows", "", "the rows to measure, such as P1,P4; all when empty")
	quick := flags.Bool("quick", false, "few and short runs: for working on something, not for the record")
	repeats := flags.Int("repeats", 0, "how often each figure is taken; 0: 5 times, with -quick twice")
	reference := flags.String("reference", "bin/bench-reference", "the program of the references")
	dir := flags.String("dir", os.TempDir(), "where data goes; it must be on a disk")
	profiles := flags.String("profile", "", "a directory for CPU profiles of Muster's processes in each measured run")
	baseline := flags.String("baseline", "", "an older result to compare with")
	out := flags.String("o", "bin/bench.json", "where the result goes")
	if err := flags.Parse(args); err != nil {
		return err
	}
	own, err := os.MkdirTemp(*dir, "muster-bench-")
	if err != nil {
		return err
	}
	b := &bench{
		dir: own, reference: *reference, quick: *quick, repeats: 5, warm: 500 * time.Millisecond, length: 2 * time.Second, out: os.Stderr,
		profiles: *profiles,
	}
	if *which != "" {
		b.rows = strings.Split(*which, ",")
	}
	if *quick {
		b.repeats, b.warm, b.length = 2, 200*time.Millisecond, 700*time.Millisecond
	}
	if *repeats > 0 {
		b.repeats = *repeats
	}
	defer os.RemoveAll(own)
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	cancelled := context.AfterFunc(ctx, func() { // its processes end with this one
		os.RemoveAll(own)
		os.Exit(130)
	})
	defer cancelled() // before stop, which ends ctx too
	if err := b.all(*out); err != nil || *baseline == "" {
		return err
	}
	return report("compare", []string{*baseline, *out})
}

// all measures, prints the tables and writes the result.
func (b *bench) all(out string) (err error) {
	began := time.Now()
	r := &b.result
	if r.Machine, err = describe(b.dir); err != nil {
		return err
	}
	r.Date, r.Commit, r.Quick, r.Repeats, r.Seconds = began.UTC().Truncate(time.Second), commit(), b.quick, b.repeats, b.length.Seconds()
	r.Versions = versions(b.reference)
	b.run()
	r.Took = time.Since(began).Seconds()
	writeFigures(os.Stdout, r.Figures)
	fmt.Println()
	writeGoals(os.Stdout, r.Goals)
	short, blank := 0, 0
	for _, g := range r.Goals {
		short += b2i(len(g.Values) > 0 && !g.Met())
		blank += b2i(len(g.Values) == 0)
	}
	fmt.Printf("\n%d goals: %d reached, %d short, %d blank; %s\n", len(r.Goals), len(r.Goals)-short-blank, short, blank, out)
	return r.save(out)
}
