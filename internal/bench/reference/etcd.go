package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/server/v3/embed"
	"go.uber.org/zap"

	"muster/internal/load"
)

// etcd is three etcd servers with their defaults, each a process, and callers that put keys through a client for each of them.
type etcd struct {
	servers []*load.Process
	clients []*clientv3.Client
	keys    []string
	value   string
}

const startPatience = 30 * time.Second

func newEtcd(dir string) (reference, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	clients, peers, err := addresses(3)
	if err != nil {
		return nil, err
	}
	e := &etcd{value: strings.Repeat("v", eventSize)}
	for i := range keys {
		e.keys = append(e.keys, fmt.Sprintf("e%d", i))
	}
	for i := range clients {
		p, err := start(dir, "etcd", fmt.Sprintf("etcd%d", i), fmt.Sprint(i), strings.Join(clients, ","), strings.Join(peers, ","))
		if err != nil {
			return nil, err
		}
		e.servers = append(e.servers, p)
	}
	for i, addr := range clients {
		if err := e.servers[i].Do(load.Request{Do: "ready"}, nil); err != nil {
			return nil, err
		}
		c, err := clientv3.New(clientv3.Config{Endpoints: []string{addr}, DialTimeout: startPatience, Logger: zap.NewNop()})
		if err != nil {
			return nil, err
		}
		e.clients = append(e.clients, c)
	}
	return e, nil
}

// addresses reserves n pairs of loopback addresses for a moment, from which the servers take them over.
func addresses(n int) (clients, peers []string, err error) {
	for i := range 2 * n {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, nil, err
		}
		defer l.Close()
		if addr := l.Addr().String(); i%2 == 0 {
			clients = append(clients, addr)
		} else {
			peers = append(peers, addr)
		}
	}
	return clients, peers, nil
}

func (e *etcd) close() {
	for _, s := range e.servers {
		s.Kill()
	}
}

func (e *etcd) run(r load.Request) (*load.Sample, error) {
	before, err := e.flushes()
	if err != nil {
		return nil, err
	}
	s := r.Loop.Run(context.Background(), func(ctx context.Context, caller, n int) error {
		_, err := e.clients[caller%len(e.clients)].Put(ctx, e.keys[(caller*7919+n*104_729)%len(e.keys)], e.value)
		return err
	})
	after, err := e.flushes()
	s.Counts["flushes"] = after - before
	return s, err
}

func (e *etcd) flushes() (all int64, err error) {
	for _, s := range e.servers {
		var n int64
		if err := s.Do(load.Request{Do: "flushes"}, &n); err != nil {
			return 0, err
		}
		all += n
	}
	return all, nil
}

// runEtcd is the process of one server: its number, and the addresses for clients and for peers of all.
func runEtcd(dir string, args []string) error {
	var own int
	if _, err := fmt.Sscan(args[0], &own); err != nil {
		return err
	}
	cfg := embed.NewConfig()
	cfg.Name, cfg.Dir, cfg.LogLevel, cfg.LogOutputs = fmt.Sprint("etcd", own), dir, "error", []string{"stderr"}
	var cluster []string
	for i, addr := range strings.Split(args[2], ",") {
		cluster = append(cluster, fmt.Sprintf("etcd%d=http://%s", i, addr))
	}
	cfg.InitialCluster = strings.Join(cluster, ",")
	at := func(list string) []url.URL { return []url.URL{{Scheme: "http", Host: strings.Split(list, ",")[own]}} }
	cfg.ListenClientUrls, cfg.AdvertiseClientUrls = at(args[1]), at(args[1])
	cfg.ListenPeerUrls, cfg.AdvertisePeerUrls = at(args[2]), at(args[2])
	server, err := embed.StartEtcd(cfg)
	if err != nil {
		return err
	}
	return load.Serve(func(r load.Request) (any, error) {
		switch r.Do {
		case "ready":
			select {
			case <-server.Server.ReadyNotify():
				return nil, nil
			case <-time.After(startPatience):
				return nil, errors.New("etcd is not ready")
			}
		case "flushes":
			return etcdFlushes()
		}
		return nil, fmt.Errorf("nothing is called %q", r.Do)
	})
}

// etcdFlushes counts the fsyncs of the write-ahead log, and two for each commit of the database behind it.
func etcdFlushes() (n int64, err error) {
	families, err := prometheus.DefaultGatherer.Gather()
	if err != nil {
		return 0, err
	}
	weights := map[string]int64{"etcd_disk_wal_fsync_duration_seconds": 1, "etcd_disk_backend_commit_duration_seconds": 2}
	for _, f := range families {
		for _, m := range f.Metric {
			n += weights[f.GetName()] * int64(m.GetHistogram().GetSampleCount())
		}
	}
	return n, nil
}
