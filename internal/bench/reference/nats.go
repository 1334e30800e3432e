package main

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"muster/internal/load"
)

// jetStream is three NATS servers, each a process that syncs every write, and one stream with three copies on files. Callers
// publish and wait for the acknowledgement, through a connection to each server.
type jetStream struct {
	servers  []*load.Process
	streams  []jetstream.JetStream
	subjects []string
	body     []byte
}

func newJetStream(dir string) (reference, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	clients, routes, err := addresses(3)
	if err != nil {
		return nil, err
	}
	n := &jetStream{body: make([]byte, eventSize)}
	for i := range keys {
		n.subjects = append(n.subjects, fmt.Sprintf("events.e%d", i))
	}
	for i := range clients {
		p, err := start(dir, "nats", fmt.Sprintf("nats%d", i), fmt.Sprint(i), strings.Join(clients, ","), strings.Join(routes, ","))
		if err != nil {
			return nil, err
		}
		n.servers = append(n.servers, p)
	}
	for i, addr := range clients {
		if err := n.servers[i].Do(load.Request{Do: "ready"}, nil); err != nil {
			return nil, err
		}
		c, err := nats.Connect("nats://" + addr)
		if err != nil {
			return nil, err
		}
		js, err := jetstream.New(c)
		if err != nil {
			return nil, err
		}
		n.streams = append(n.streams, js)
	}
	return n, n.create()
}

// create makes the stream; the servers may take a moment to agree on who leads.
func (n *jetStream) create() (err error) {
	ctx, cancel := context.WithTimeout(context.Background(), startPatience)
	defer cancel()
	for ctx.Err() == nil {
		attempt, end := context.WithTimeout(ctx, 2*time.Second) // nobody answers while nobody leads
		_, err = n.streams[0].CreateOrUpdateStream(attempt, jetstream.StreamConfig{
			Name: "events", Subjects: []string{"events.>"}, Replicas: 3, Storage: jetstream.FileStorage,
		})
		end()
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
		case <-time.After(100 * time.Millisecond):
		}
	}
	return fmt.Errorf("create the stream: %w", err)
}

func (n *jetStream) close() {
	for _, s := range n.servers {
		s.Kill()
	}
}

func (n *jetStream) run(r load.Request) (*load.Sample, error) {
	return r.Loop.Run(context.Background(), func(ctx context.Context, caller, i int) error {
		_, err := n.streams[caller%len(n.streams)].Publish(ctx, n.subjects[(caller*7919+i*104_729)%len(n.subjects)], n.body)
		return err
	}), nil
}

// runNATS is the process of one server: its number, and the addresses for clients and for routes of all.
func runNATS(dir string, args []string) error {
	own, err := strconv.Atoi(args[0])
	if err != nil {
		return err
	}
	at := func(list string) (string, int) {
		host, port, _ := strings.Cut(strings.Split(list, ",")[own], ":")
		n, _ := strconv.Atoi(port) // it comes from a listener
		return host, n
	}
	o := &server.Options{
		ServerName: fmt.Sprint("nats", own), JetStream: true, StoreDir: dir, SyncAlways: true, NoSigs: true, NoLog: true,
		Cluster: server.ClusterOpts{Name: "bench"},
	}
	o.Host, o.Port = at(args[1])
	o.Cluster.Host, o.Cluster.Port = at(args[2])
	for _, addr := range strings.Split(args[2], ",") {
		o.Routes = append(o.Routes, &url.URL{Scheme: "nats", Host: addr})
	}
	s, err := server.NewServer(o)
	if err != nil {
		return err
	}
	s.Start()
	return load.Serve(func(r load.Request) (any, error) {
		if r.Do == "ready" && s.ReadyForConnections(startPatience) {
			return nil, nil
		}
		return nil, errors.New(r.Do + ": NATS is not ready")
	})
}
