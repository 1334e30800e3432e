// The ledger is a bank on Muster: accounts are entities, transactions from a file are posted to them, and every balance is
// checked against the sum of the file.
//
//	ledger demo --kill               three nodes as processes, a file replayed, one node killed half-way
//	ledger serve --id n1 …           one node, for a group of one's own
//	ledger generate --rows 30000     a made-up file of transactions
//
// account.go is all that the bank itself takes; the rest reads files, starts processes and measures.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
)

// Exit codes. A program that calls this one can tell a lost transaction from a mistyped flag.
const (
	exitDone   = 0
	exitFailed = 1
	exitMisuse = 2 // nothing was started
)

const usage = `ledger replays a file of bank transactions through a Muster group and checks every balance.

  ledger demo      start a group of processes here, replay a file, show what it took; --kill kills a node half-way
  ledger serve     run one node
  ledger generate  write a made-up file of transactions

ledger VERB --help says more.
`

// misuse is an error of whoever typed the command.
type misuse struct{ error }

func (m misuse) Unwrap() error { return m.error }

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	verbs := map[string]func(context.Context, []string, io.Writer, io.Writer) error{
		"demo": demo, "serve": serve, "generate": generate,
	}
	if len(args) == 0 || verbs[args[0]] == nil {
		if len(args) > 0 && (args[0] == "help" || args[0] == "--help" || args[0] == "-h") {
			fmt.Fprint(stdout, usage)
			return exitDone
		}
		fmt.Fprint(stderr, usage)
		return exitMisuse
	}
	err := verbs[args[0]](ctx, args[1:], stdout, stderr)
	switch {
	case err == nil || errors.Is(err, flag.ErrHelp):
		return exitDone
	case errors.As(err, new(misuse)):
		fmt.Fprintf(stderr, "ledger %s: %v\n", args[0], err)
		return exitMisuse
	default:
		fmt.Fprintf(stderr, "ledger %s: %v\n", args[0], err)
		return exitFailed
	}
}

// parse reads the flags of one verb; what is left over is misuse.
func parse(f *flag.FlagSet, args []string, out io.Writer) error {
	f.SetOutput(out)
	if err := f.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return err
		}
		return misuse{errors.New("see the line above")}
	}
	if f.NArg() > 0 {
		return misuse{fmt.Errorf("unexpected argument %q", f.Arg(0))}
	}
	return nil
}
