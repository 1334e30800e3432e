// Command reference runs what Muster is measured against: the bare pieces it is made of, put together without anything that
// makes them a system, and other systems. Each is a process that answers load.Requests, and starts what else it needs.
//
// It is a module of its own, so that a program that embeds Muster does not inherit etcd and the others. It uses the versions
// of bbolt and gRPC that Muster uses.
package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"strings"

	"muster/internal/load"
)

const (
	eventSize    = 128 // bytes of an event that is made durable
	envelopeSize = 100 // bytes of a message that is not
	keys         = 10_000
)

// A reference is a system that load can be put on.
type reference interface {
	// run puts the load on it, counts included.
	run(r load.Request) (*load.Sample, error)
	// close ends what it started.
	close()
}

// references are all there are, and parts the processes that they consist of. dir is the process's own.
var (
	references = map[string]func(dir string) (reference, error){
		"bbolt":    newGroupCommit,
		"pipeline": func(dir string) (reference, error) { return newPipeline(dir, "bbolt") },
		"log":      func(dir string) (reference, error) { return newPipeline(dir, "log") },
		"etcd":     newEtcd,
		"nats":     newJetStream,
		"hop":      newHop,
		"unary":    newUnary,
		"oneway":   newOneWay,
		"grains":   newGrains,
		"actors":   newActors,
		"told":     newTold,
		"scan":     newScan,
		"dragon1":  func(dir string) (reference, error) { return newDragon(dir, 1) },
		"dragon48": func(dir string) (reference, error) { return newDragon(dir, 48) },
	}
	parts = map[string]func(dir string, args []string) error{
		"replica":   runReplica,
		"etcd":      runEtcd,
		"nats":      runNATS,
		"mailboxes": runMailboxes,
		"grains":    runGrains,
		"actors":    runActors,
	}
)

func main() {
	signal.Ignore(os.Interrupt) // the driver decides when it is over
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "reference:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	switch {
	case len(args) == 2 && references[args[0]] != nil:
		return serve(args[0], args[1])
	case len(args) > 2 && args[0] == "part" && parts[args[1]] != nil:
		return parts[args[1]](args[2], args[3:])
	case len(args) == 1 && args[0] == "list":
		return json.NewEncoder(os.Stdout).Encode(names())
	}
	return fmt.Errorf("usage: reference NAME DIR, where NAME is one of %s; reference list", strings.Join(names(), ", "))
}

func names() []string {
	var all []string
	for name := range references {
		all = append(all, name)
	}
	slices.Sort(all)
	return all
}

func serve(name, dir string) error {
	ref, err := references[name](dir)
	if err != nil {
		return err
	}
	defer ref.close()
	return load.Serve(func(r load.Request) (any, error) {
		switch r.Do {
		case "ready":
			return nil, nil // it is, once it answers
		case "run":
			return ref.run(r)
		}
		return nil, errors.New("nothing is called " + r.Do)
	})
}

// start starts a part of this program as a process of its own.
func start(dir, part, name string, args ...string) (*load.Process, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	own := dir + "/" + name
	if err := os.MkdirAll(own, 0o700); err != nil {
		return nil, err
	}
	return load.Start(dir, name, nil, self, append([]string{"part", part, own}, args...)...)
}
