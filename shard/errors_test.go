package shard_test

import (
	"errors"
	"fmt"
	"io"
	"syscall"
	"testing"

	"muster/shard"
)

// What an error says about itself it says once, however many functions of the same kind it came through; what went wrong
// underneath in another way keeps its own name.
func TestAnErrorSaysItsCodeOnce(t *testing.T) {
	inner := shard.Invalid("the key is old")
	of := &shard.Error{Code: shard.CodeInvalid, Shard: shard.ID{Type: "counter", Number: 3}, Detail: "no room"}
	for _, c := range []struct {
		err  error
		want string
	}{
		{shard.Invalid("f.toml: tls: %v", inner), "invalid-argument: f.toml: tls: the key is old"},
		{shard.Invalid("f.toml: %v", fmt.Errorf("tls: %w", inner)), "invalid-argument: f.toml: tls: the key is old"},
		{shard.Invalid("%v", errors.Join(inner, shard.Invalid("so is the lock"))), "invalid-argument: the key is old\nso is the lock"},
		{shard.Invalid("promote: %v", of), "invalid-argument: promote: (counter/3): no room"},
		{shard.Errorf(shard.CodeTimeout, "register: %v", inner), "timeout: register: invalid-argument: the key is old"},
		{shard.Unknownf(shard.CodeTimeout, "withdraw: %v", shard.Unknownf(shard.CodeNoLeader, "none")), "timeout: withdraw: no-leader: none [outcome unknown]"},
		{shard.Errorf(shard.CodeTimeout, "ask: %v", shard.Unknownf(shard.CodeTimeout, "late")), "timeout: ask: late"},
		{shard.Invalid("errno %d", syscall.ENOENT), "invalid-argument: errno 2"},
		{shard.Invalid("%v and %v", io.EOF, (*shard.Error)(nil)), "invalid-argument: EOF and <nil>"},
	} {
		if got := c.err.Error(); got != c.want {
			t.Errorf("%q, want %q", got, c.want)
		}
	}
}
