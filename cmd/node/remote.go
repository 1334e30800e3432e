package main

import (
	"context"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"muster/client"
)

const (
	defaultAddr    = "127.0.0.1:7420"
	defaultTimeout = 10 * time.Second
)

// remote is how a verb reaches the group: by any of its nodes.
type remote struct {
	addrs   *[]string
	timeout *time.Duration
	files   *tlsFiles
}

func remoteFlags(flags *pflag.FlagSet, timeout time.Duration) *remote {
	return &remote{
		addrs:   flags.StringSlice("addr", []string{defaultAddr}, "HOST:PORT of any node; a list is tried in turn"),
		timeout: flags.Duration("timeout", timeout, "give up after so long"),
		files:   tlsFlags(flags),
	}
}

// with connects, runs the body within the timeout, and closes the connection.
func (r *remote) with(ctx context.Context, body func(context.Context, *client.Client) error) error {
	if *r.timeout <= 0 {
		return misusef("timeout = %s, must be above 0", *r.timeout)
	}
	secure, err := r.files.load()
	if err != nil {
		return misuse{err}
	}
	bounded, cancel := context.WithTimeout(ctx, *r.timeout)
	defer cancel()
	c, err := client.Open(bounded, client.Config{Addrs: *r.addrs, TLS: secure})
	if err == nil {
		defer c.Close()
		err = body(bounded, c)
	}
	if err != nil && ctx.Err() != nil {
		return cut(err)
	}
	return err
}

// reading is a remote whose verb only reads the map, of whatever node answers unless asked otherwise.
type reading struct {
	*remote
	linearizable *bool
}

func readingFlags(flags *pflag.FlagSet) *reading {
	return &reading{
		remote:       remoteFlags(flags, defaultTimeout),
		linearizable: flags.Bool("linearizable", false, "ask the leader, so that everything decided before is in the answer"),
	}
}

// state returns what a node knows. A map that may be old says so.
func (r *reading) state(ctx context.Context, t *terminal) (client.State, error) {
	var s client.State
	err := r.with(ctx, func(ctx context.Context, c *client.Client) (err error) {
		if *r.linearizable {
			s, err = c.State(ctx)
		} else {
			s, err = c.Inspect(ctx)
		}
		return err
	})
	if err == nil && s.Leader == "" {
		t.note("there is no leader: this is the map of node %s, %s old", s.Node, age(s.Age))
	}
	return s, err
}

func commas[T ~string](list []T) string {
	texts := make([]string, len(list))
	for i, s := range list {
		texts[i] = string(s)
	}
	return strings.Join(texts, ",")
}
