package shard

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// Code is the stable, wire-safe name of what went wrong. Callers branch on it; texts may change.
type Code string

// The codes. Whether the command took effect is not in the code but in Error.Outcome.
const (
	CodeInvalid        Code = "invalid-argument" // the request can never succeed as it is
	CodeRefused        Code = "refused"          // the entity's handler said no
	CodeFailed         Code = "handler-failed"   // the entity's handler returned an error or panicked
	CodeMoved          Code = "moved"            // another node owns the shard; Node and Addr say which
	CodeUnavailable    Code = "unavailable"      // the shard has no owner now; Detail says what it waits for
	CodeOverloaded     Code = "overloaded"       // a named limit is reached
	CodeTimeout        Code = "timeout"          // the caller's deadline passed
	CodeUnconfirmed    Code = "unconfirmed"      // ack_timeout passed without min_acks: the outcome is unknown
	CodeUnknownType    Code = "unknown-type"     // no member hosts such an entity type
	CodeUnknownCommand Code = "unknown-command"  // the entity type has no such command
	CodeNotFound       Code = "not-found"        // there is no such node, shard or copy
	CodeSessionEnded   Code = "session-ended"    // the sender's session is over
	CodeRequestTooOld  Code = "request-too-old"  // the sender said it no longer awaits this number
	CodeRequestReused  Code = "request-reused"   // the same request id came with another payload
	CodeNoLeader       Code = "no-leader"        // the coordinator has no leader the node can reach
	CodeNotLeader      Code = "not-leader"       // ask Node at Addr
	CodeWrongGroup     Code = "wrong-group"      // the peer belongs to another group
	CodeInUse          Code = "id-in-use"        // the node id, directory or address belongs to another live node
	CodeUnreachable    Code = "unreachable"      // nobody who is the node answers at the address that it gives
	CodeSetBack        Code = "set-back"         // the data directory is older than one the group has heard from
	CodeRemoved        Code = "removed"          // the node was taken out of the group, and its directory with it
	CodeConflict       Code = "conflict"         // the state has moved on since the caller looked
	CodeReplaced       Code = "replaced"         // a later call under the same name waits in the place of this one
	CodeMismatch       Code = "mismatch"         // other options for something that exists: a type, a barrier
	CodeClosed         Code = "closed"           // this node is shutting down or was stopped by a fault
	CodeBehind         Code = "behind"           // this node's map is older than the request needs
	CodeInternal       Code = "internal"         // a broken invariant: a defect
)

// Outcome says whether the command the error belongs to may have taken effect.
type Outcome uint8

const (
	NotApplied Outcome = iota // it did not and will not take effect
	Unknown                   // it may have taken effect or still may
)

func (o Outcome) String() string { return [...]string{"not applied", "outcome unknown"}[o] }

// Error is what callers branch on. It crosses the wire whole. The zero Outcome is the strong claim, so set Unknown
// wherever in doubt.
type Error struct {
	Code    Code    `cbor:"1,keyasint"`
	Outcome Outcome `cbor:"2,keyasint,omitempty"`
	Shard   ID      `cbor:"3,keyasint,omitempty"`
	Epoch   Epoch   `cbor:"4,keyasint,omitempty"` // the epoch the answering node knows, 0 for none
	Node    NodeID  `cbor:"5,keyasint,omitempty"` // the owner or leader to ask instead
	Addr    string  `cbor:"6,keyasint,omitempty"` // its address
	Detail  string  `cbor:"7,keyasint,omitempty"` // a sentence for a person
}

func (e *Error) Error() string {
	text := string(e.Code) + e.about()
	if e.Outcome == Unknown {
		text += " [outcome unknown]"
	}
	return text
}

// about is what the error says beside its code and its outcome.
func (e *Error) about() string {
	var b strings.Builder
	if e.Shard.Type != "" {
		fmt.Fprintf(&b, " (%s", e.Shard)
		if e.Epoch > 0 {
			fmt.Fprintf(&b, ", epoch %d", e.Epoch)
		}
		b.WriteString(")")
	}
	if e.Detail != "" {
		b.WriteString(": " + e.Detail)
	}
	return b.String()
}

// Is matches errors of the same code, so errors.Is(err, &shard.Error{Code: shard.CodeMoved}) works.
func (e *Error) Is(target error) bool {
	t, ok := target.(*Error)
	return ok && t.Code == e.Code && *t == Error{Code: t.Code}
}

// Errorf makes an Error that claims the command was not applied. Of an argument that is an error, or has one in its chain, the
// detail leaves out what the new error says itself: its code and its outcome.
func Errorf(code Code, format string, args ...any) *Error {
	return &Error{Code: code, Detail: detail(code, format, args)}
}

// Unknownf makes an Error that leaves open whether the command was applied. Its detail is as that of Errorf.
func Unknownf(code Code, format string, args ...any) *Error {
	return &Error{Code: code, Outcome: Unknown, Detail: detail(code, format, args)}
}

func detail(code Code, format string, args []any) string {
	given := args
	for i, arg := range given {
		err, _ := arg.(error)
		if inside := errorsIn(err); len(inside) > 0 {
			if &args[0] == &given[0] {
				args = slices.Clone(given) // it is the caller's
			}
			args[i] = within(code, err, inside)
		}
	}
	return fmt.Sprintf(format, args...)
}

// within is the text of err inside that of an Error with the code; inside are the Errors in it.
func within(code Code, err error, inside []*Error) string {
	text := err.Error()
	for _, e := range inside {
		said := string(e.Code) + e.about()
		if e.Code == code {
			said = strings.TrimLeft(e.about(), ": ")
		}
		text = strings.Replace(text, e.Error(), said, 1)
	}
	return text
}

// errorsIn are the Errors in the tree of err.
func errorsIn(err error) []*Error {
	switch e := err.(type) {
	case *Error:
		if e == nil {
			return nil
		}
		return []*Error{e}
	case interface{ Unwrap() error }:
		return errorsIn(e.Unwrap())
	case interface{ Unwrap() []error }:
		var all []*Error
		for _, one := range e.Unwrap() {
			all = append(all, errorsIn(one)...)
		}
		return all
	}
	return nil
}

// Invalid makes a CodeInvalid error.
func Invalid(format string, args ...any) *Error { return Errorf(CodeInvalid, format, args...) }

// NoMap is what a node says that has no map since it started: another one may know. What was asked has not happened.
func NoMap(n NodeID) *Error {
	return &Error{Code: CodeUnavailable, Node: n, Detail: fmt.Sprintf("node %s has no map of its group yet: it has heard from no leader", n)}
}

// CodeOf returns the code of the first Error in err's chain, CodeInternal when there is none and "" for nil.
func CodeOf(err error) Code {
	var e *Error
	switch {
	case err == nil:
		return ""
	case errors.As(err, &e):
		return e.Code
	default:
		return CodeInternal
	}
}

// As returns err's Error; any other error becomes CodeInternal with an unknown outcome. It returns nil for nil.
func As(err error) *Error {
	var e *Error
	switch {
	case err == nil:
		return nil
	case errors.As(err, &e):
		return e
	default:
		return &Error{Code: CodeInternal, Outcome: Unknown, Detail: err.Error()}
	}
}
