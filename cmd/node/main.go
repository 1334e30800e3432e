// Command muster runs nodes of a group and talks to them. Its source is a table of verbs, one file each: see verbs.go.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"
)

func main() {
	os.Exit(run(os.Args[1:], &terminal{out: output{os.Stdout}, err: os.Stderr, environ: os.Environ()}))
}

// run executes one command line and returns the exit code.
//
// The first interrupt ends the verb in good order; the second ends the process.
func run(args []string, t *terminal) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop)
	t.json = asksForJSON(args, t.environ)
	root := newRoot(t)
	root.SetArgs(args)
	err := root.ExecuteContext(ctx)
	t.fail(err)
	return exitCode(err)
}
