package main

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/asynkron/protoactor-go/actor"
	"github.com/asynkron/protoactor-go/remote"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"muster/internal/load"
)

// actors is Proto.Actor without its cluster: named actors in another process, asked or told by address.
type actors struct {
	process *load.Process
	system  *actor.ActorSystem
	pids    []*actor.PID
	tell    bool
}

const actorCount = 1024

func newActors(dir string) (reference, error) { return openActors(dir, false) }

func newTold(dir string) (reference, error) { return openActors(dir, true) }

func openActors(dir string, tell bool) (reference, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	a := &actors{system: quiet(), tell: tell}
	there, here, err := addresses(1)
	if err != nil {
		return nil, err
	}
	if a.process, err = start(dir, "actors", "actors", there[0]); err != nil {
		return nil, err
	}
	if err := a.process.Do(load.Request{Do: "ready"}, nil); err != nil {
		return nil, err
	}
	host, port, err := hostPort(here[0])
	if err != nil {
		return nil, err
	}
	remote.NewRemote(a.system, remote.Configure(host, port)).Start()
	for i := range actorCount {
		a.pids = append(a.pids, actor.NewPID(there[0], actorName(i)))
	}
	return a, nil
}

func actorName(i int) string { return fmt.Sprintf("e%d", i) }

func (a *actors) close() { a.process.Kill() }

func (a *actors) ask(i int, body []byte) ([]byte, error) {
	reply, err := a.system.Root.RequestFuture(a.pids[i%len(a.pids)], &wrapperspb.BytesValue{Value: body}, grainPatient).Result()
	if err != nil {
		return nil, err
	}
	b, ok := reply.(*wrapperspb.BytesValue)
	if !ok {
		return nil, fmt.Errorf("a reply of type %T", reply)
	}
	return b.Value, nil
}

func (a *actors) run(r load.Request) (*load.Sample, error) {
	if a.tell {
		return a.tells(r)
	}
	return r.Loop.Run(context.Background(), checked(r.Loop.Callers, a.ask)), nil
}

// burst is how many messages are told before one is asked, which bounds what is under way.
const burst = 8192

// tells sends messages that nobody answers, as one caller, and counts those that arrived.
func (a *actors) tells(r load.Request) (*load.Sample, error) {
	r.Loop.Callers = 1
	before, err := a.received()
	if err != nil {
		return nil, err
	}
	began := time.Now()
	sent := int64(0)
	body := binary.BigEndian.AppendUint64(nil, 0)
	body = append(body, make([]byte, envelopeSize-len(body))...)
	s := r.Loop.Run(context.Background(), func(context.Context, int, int) error {
		for i := range burst {
			a.system.Root.Send(a.pids[i%len(a.pids)], &wrapperspb.BytesValue{Value: body})
		}
		sent += burst
		_, err := a.ask(0, body)
		return err
	})
	for n := int64(0); n < sent; {
		after, err := a.received()
		if err != nil {
			return nil, err
		}
		if n = after - before; time.Since(began) > r.Loop.For+10*time.Second {
			return nil, errors.New(fmt.Sprint(sent, " were told, arrived: ", n))
		}
	}
	s.Seconds = time.Since(began).Seconds()
	s.Ops, s.Late = uint64(sent), 0
	return s, nil
}

func (a *actors) received() (n int64, err error) {
	return n, a.process.Do(load.Request{Do: "told"}, &n)
}

// runActors is the process of the actors.
func runActors(_ string, args []string) error {
	host, port, err := hostPort(args[0])
	if err != nil {
		return err
	}
	system := quiet()
	remote.NewRemote(system, remote.Configure(host, port)).Start()
	for i := range actorCount {
		if _, err := system.Root.SpawnNamed(actor.PropsFromProducer(func() actor.Actor { return &tally{} }), actorName(i)); err != nil {
			return err
		}
	}
	return load.Serve(func(r load.Request) (any, error) { return told.Load(), nil })
}
