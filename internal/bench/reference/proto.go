package main

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/asynkron/protoactor-go/actor"
	"github.com/asynkron/protoactor-go/cluster"
	"github.com/asynkron/protoactor-go/cluster/clusterproviders/automanaged"
	"github.com/asynkron/protoactor-go/cluster/identitylookup/disthash"
	"github.com/asynkron/protoactor-go/remote"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"muster/internal/load"
)

// grains is a Proto.Actor cluster of three members, each a process, and this process as its client: virtual actors, placed by
// a distributed hash.
type grains struct {
	members []*load.Process
	cluster *cluster.Cluster
	names   []string
}

const (
	grainKind    = "tally"
	grainPatient = 20 * time.Second
	grainsStart  = 10 * time.Second
)

// newGrains starts the cluster. A member that was once too busy to answer the others in time is shut out by them for good, so
// on a busy machine it takes more than one try.
func newGrains(dir string) (ref reference, err error) {
	for try := range 3 {
		g := &grains{}
		if err = g.open(filepath.Join(dir, fmt.Sprint("try", try))); err == nil {
			return g, nil
		}
		g.close()
	}
	return nil, err
}

func (g *grains) open(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	remotes, boards, err := addresses(3)
	if err != nil {
		return err
	}
	for i := range keys {
		g.names = append(g.names, fmt.Sprintf("e%d", i))
	}
	for i := range remotes {
		p, err := start(dir, "grains", fmt.Sprintf("grains%d", i), remotes[i], boards[i], strings.Join(boards, ","))
		if err != nil {
			return err
		}
		g.members = append(g.members, p)
	}
	own, spare, err := addresses(1)
	if err != nil {
		return err
	}
	if g.cluster, err = newCluster(own[0], spare[0], strings.Join(boards, ",")); err != nil {
		return err
	}
	g.cluster.StartClient()
	return g.ready()
}

// ready waits until all members are known and every grain answers.
func (g *grains) ready() (err error) {
	for began := time.Now(); time.Since(began) < grainsStart; {
		if g.cluster.MemberList.Length() < len(g.members) {
			err = fmt.Errorf("%d members", g.cluster.MemberList.Length())
			time.Sleep(50 * time.Millisecond)
			continue
		}
		err = nil
		for i := 0; i < len(g.names) && err == nil; i++ {
			_, err = g.ask(i, make([]byte, envelopeSize))
		}
		if err == nil {
			return nil
		}
		time.Sleep(50 * time.Millisecond)
	}
	return fmt.Errorf("the grains do not answer: %w", err)
}

func (g *grains) close() {
	for _, m := range g.members {
		m.Kill()
	}
}

func (g *grains) ask(name int, body []byte) ([]byte, error) {
	reply, err := g.cluster.Request(g.names[name], grainKind, &wrapperspb.BytesValue{Value: body}, cluster.WithTimeout(grainPatient))
	if err != nil {
		return nil, err
	}
	b, ok := reply.(*wrapperspb.BytesValue)
	if !ok {
		return nil, fmt.Errorf("a reply of type %T", reply)
	}
	return b.Value, nil
}

func (g *grains) run(r load.Request) (*load.Sample, error) {
	return r.Loop.Run(context.Background(), checked(r.Loop.Callers, func(i int, body []byte) ([]byte, error) {
		return g.ask(i%len(g.names), body)
	})), nil
}

// checked is an operation that asks with a tag and checks that the reply has it.
func checked(callers int, ask func(i int, body []byte) ([]byte, error)) load.Op {
	return func(_ context.Context, caller, n int) error {
		body := make([]byte, envelopeSize) // the message may outlive the call
		tag := uint64(caller)<<40 | uint64(n)
		binary.BigEndian.PutUint64(body, tag)
		reply, err := ask(caller*7919+n*104_729, body)
		if err == nil && (len(reply) != replySize || binary.BigEndian.Uint64(reply) != tag) {
			err = errors.New("a wrong reply")
		}
		return err
	}
}

// newCluster prepares a node: its address for messages, and the one where members learn of each other.
func newCluster(addr, board, boards string) (*cluster.Cluster, error) {
	host, port, err := hostPort(addr)
	if err != nil {
		return nil, err
	}
	_, boardPort, err := hostPort(board)
	if err != nil {
		return nil, err
	}
	provider := automanaged.NewWithConfig(time.Second, boardPort, strings.Split(boards, ",")...)
	kind := cluster.NewKind(grainKind, actor.PropsFromProducer(func() actor.Actor { return &tally{} }))
	return cluster.New(quiet(), cluster.Configure("bench", provider, disthash.New(), remote.Configure(host, port), cluster.WithKinds(kind),
		cluster.WithRequestTimeout(grainPatient))), nil
}

func quiet() *actor.ActorSystem {
	return actor.NewActorSystem(actor.WithLoggerFactory(func(*actor.ActorSystem) *slog.Logger {
		return slog.New(slog.DiscardHandler)
	}))
}

func hostPort(addr string) (string, int, error) {
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return "", 0, err
	}
	n, err := strconv.Atoi(port)
	return host, n, err
}

// tally is the actor of both kinds of reference: it answers with the tag and how many messages it has seen.
type tally struct{ count uint64 }

var told atomic.Int64 // messages that came without a sender, in this process

// Receive implements actor.Actor.
func (t *tally) Receive(c actor.Context) {
	m, ok := c.Message().(*wrapperspb.BytesValue)
	if !ok || len(m.Value) < 8 {
		return
	}
	t.count++
	if c.Sender() == nil {
		told.Add(1)
		return
	}
	reply := append(make([]byte, 0, replySize), m.Value[:8]...)
	c.Respond(&wrapperspb.BytesValue{Value: binary.BigEndian.AppendUint64(reply, t.count)})
}

// runGrains is the process of one member.
func runGrains(_ string, args []string) error {
	c, err := newCluster(args[0], args[1], args[2])
	if err != nil {
		return err
	}
	c.StartMember()
	return load.Serve(func(r load.Request) (any, error) { return nil, nil })
}
