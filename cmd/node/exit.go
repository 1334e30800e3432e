package main

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"muster/shard"
)

// The exit codes, the same for every verb.
const (
	exitDone        = 0
	exitFailed      = 1   // it was tried and failed
	exitMisuse      = 2   // the command line, environment or file is wrong: nothing was sent, nothing was changed
	exitAway        = 3   // the group cannot answer now: no leader, no quorum, no node, too late
	exitRefused     = 4   // refused for safety, with the reason
	exitNoSuch      = 5   // there is no node, shard, type, command or copy of that name
	exitUnderway    = 6   // it was begun and is not done in time: the group goes on with it
	exitInterrupted = 130 // by a signal, before it was done
	exitUnread      = 141 // nobody reads the output any more; as after SIGPIPE, nothing is said
)

// misuse is an error of whoever wrote the command line.
type misuse struct{ error }

// Unwrap gives the error inside.
func (m misuse) Unwrap() error { return m.error }

func misusef(format string, args ...any) error { return misuse{fmt.Errorf(format, args...)} }

// A halt is how a verb ends that was stopped before what it is for was done.
type halt struct {
	exit int
	kind shard.Code // stands where other errors have their code
	text string

	outcome shard.Outcome // of what was ordered
}

func (h halt) Error() string {
	if h.outcome == shard.Unknown {
		return string(h.kind) + ": " + h.text + " [outcome unknown]"
	}
	return string(h.kind) + ": " + h.text
}

func interrupted(text string) error {
	return halt{exit: exitInterrupted, kind: "interrupted", text: text}
}

// unsure is interrupted where nobody can tell whether what was ordered was done, or will be.
func unsure(text string) error {
	return halt{exit: exitInterrupted, kind: "interrupted", text: text, outcome: shard.Unknown}
}

// cut is how a verb ends that was interrupted while it failed with err.
func cut(err error) error {
	var h halt
	var e *shard.Error
	switch {
	case errors.As(err, &h):
		return err
	case errors.As(err, &e) && e.Outcome == shard.Unknown:
		return unsure("before there was an answer")
	}
	return interrupted("before there was an answer")
}

// halted says of what was begun, and which the group goes on with, why it is not waited for any longer.
func halted(ctx context.Context, format string, args ...any) error {
	text := fmt.Sprintf(format, args...)
	if errors.Is(ctx.Err(), context.Canceled) {
		return interrupted(text)
	}
	return halt{exit: exitUnderway, kind: "under-way", text: "the time is over: " + text}
}

// exitCode decides on the code by what kind of error it is, never by its words.
func exitCode(err error) int {
	var m misuse
	var h halt
	switch {
	case err == nil:
		return exitDone
	case errors.As(err, &m):
		return exitMisuse
	case errors.As(err, &h):
		return h.exit
	case errors.Is(err, errUnread):
		return exitUnread
	}
	switch shard.CodeOf(err) {
	case shard.CodeInvalid:
		return exitMisuse
	case shard.CodeUnavailable, shard.CodeNoLeader, shard.CodeNotLeader, shard.CodeTimeout, shard.CodeUnconfirmed,
		shard.CodeOverloaded, shard.CodeClosed, shard.CodeBehind, shard.CodeMoved:
		return exitAway
	case shard.CodeInUse, shard.CodeUnreachable, shard.CodeReplaced, shard.CodeMismatch, shard.CodeConflict, shard.CodeWrongGroup, shard.CodeSetBack, shard.CodeRemoved:
		return exitRefused
	case shard.CodeNotFound, shard.CodeUnknownType, shard.CodeUnknownCommand:
		return exitNoSuch
	default:
		return exitFailed
	}
}

// failure is the document of an error.
type failure struct {
	Code    string `json:"code"` // of the group's error; or misuse, interrupted, under-way, failed
	Exit    int    `json:"exit"` // the exit code
	Text    string `json:"text"`
	Unknown bool   `json:"outcome_unknown"` // what was ordered may have taken effect, or still may
	Shard   string `json:"shard"`           // that it is about, "" for none
	Node    string `json:"node"`
}

func failureOf(err error) failure {
	f := failure{Code: "failed", Exit: exitCode(err), Text: sentence(err)}
	var e *shard.Error
	var h halt
	if errors.As(err, &e) {
		f.Code, f.Unknown, f.Node = string(e.Code), e.Outcome == shard.Unknown, string(e.Node)
		if e.Shard.Type != "" {
			f.Shard = e.Shard.String()
		}
	}
	switch {
	case errors.As(err, &h):
		f.Code, f.Unknown = string(h.kind), h.outcome == shard.Unknown
	case e == nil && f.Exit == exitMisuse:
		f.Code = "misuse"
	}
	return f
}

// sentence puts an error on one line: several faults are parted by semicolons.
func sentence(err error) string {
	lines := strings.FieldsFunc(err.Error(), func(r rune) bool { return r == '\n' || r == '\r' })
	return strings.Join(lines, "; ")
}
