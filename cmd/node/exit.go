package main

import (
	"errors"
	"fmt"
	"strings"

	"muster/shard"
)

// The exit codes, the same for every verb.
const (
	exitDone    = 0
	exitFailed  = 1 // it was tried and failed
	exitMisuse  = 2 // the command line, environment or file is wrong: nothing was sent, nothing was changed
	exitAway    = 3 // the group cannot answer now: no leader, no quorum, no node, too late
	exitRefused = 4 // refused for safety, with the reason
	exitNoSuch  = 5 // there is no node, shard, type, command or copy of that name
)

// misuse is an error of whoever wrote the command line.
type misuse struct{ error }

// Unwrap gives the error inside.
func (m misuse) Unwrap() error { return m.error }

func misusef(format string, args ...any) error { return misuse{fmt.Errorf(format, args...)} }

// exitCode decides on the code by what kind of error it is, never by its words.
func exitCode(err error) int {
	var m misuse
	switch {
	case err == nil:
		return exitDone
	case errors.As(err, &m):
		return exitMisuse
	}
	switch shard.CodeOf(err) {
	case shard.CodeInvalid:
		return exitMisuse
	case shard.CodeUnavailable, shard.CodeNoLeader, shard.CodeNotLeader, shard.CodeTimeout, shard.CodeUnconfirmed,
		shard.CodeOverloaded, shard.CodeClosed, shard.CodeBehind, shard.CodeMoved:
		return exitAway
	case shard.CodeInUse, shard.CodeMismatch, shard.CodeConflict, shard.CodeWrongGroup, shard.CodeSetBack, shard.CodeRemoved:
		return exitRefused
	case shard.CodeNotFound, shard.CodeUnknownType, shard.CodeUnknownCommand:
		return exitNoSuch
	default:
		return exitFailed
	}
}

// sentence puts an error on one line: several faults are parted by semicolons.
func sentence(err error) string {
	lines := strings.FieldsFunc(err.Error(), func(r rune) bool { return r == '\n' || r == '\r' })
	return strings.Join(lines, "; ")
}
