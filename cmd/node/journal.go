package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/pflag"

	"muster/entity"
	"muster/journal"
	"muster/shard"
)

// journalName is the journal in a node's data directory.
const journalName = "journal.db"

// mostDumped bounds the records of one dump, which are put together in memory.
const mostDumped = 1_000_000

var journalVerb = verb{
	use:   "journal",
	short: "look into the journal of a node that is stopped",
	long: "Reads a journal file, or all that a data directory holds, those that were set aside after a fault among them. Nothing is\n" +
		"written, and a file that a running node holds is refused with code 4.",
	verbs: []verb{journalVerifyVerb, journalDumpVerb},
}

var journalVerifyVerb = verb{
	use:   "verify FILE|DIR [--accept]",
	short: "check every checksum of a journal",
	long: "Reads everything and says of each copy which epoch it has promised, where its log starts and ends, how much of it is known to be\n" +
		"confirmed, how many records it has, and what is damaged; then it ends with code 1. A journal with the mark of a failed sync\n" +
		"proves nothing, whatever its checksums say: it ends with code 1 too. The next start sets it aside, and its copies are lost. With\n" +
		"--accept you vouch for the disk, and the mark is taken away, unless something is damaged. Of several journals the worst decides:\n" +
		"1 when one is damaged, marked or cannot be read, else 4 when one is in use, else 2 when one is none.",
	example: "muster journal verify DIR",
	output: `FILE            COPY  SHARD        PROMISED  STARTS AFTER  ENDS  CONFIRMED  RECORDS  APART  STATE
DIR/journal.db  1     counter/0  1         0@0           1@1   0          1        0      sound`,
	args: 1,
	body: func(t *terminal, flags *pflag.FlagSet) func(context.Context, []string) error {
		accept := flags.Bool("accept", false, "vouch for a disk after a failed sync")
		return func(_ context.Context, args []string) error {
			files, err := journalsOf(args[0])
			if err != nil {
				return err
			}
			all := []verifyReport{}
			var faults []error
			for _, path := range files {
				r, err := verifyJournal(path, *accept)
				all, faults = append(all, r), append(faults, err)
			}
			return errors.Join(t.show(all, func(w *columns) { verifyTable(w, all) }), worstOf(faults))
		}
	},
}

// journalsOf returns the file, or every journal in the directory.
func journalsOf(path string) ([]string, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, misuse{err}
	}
	switch {
	case info.Mode().IsRegular():
		return []string{path}, nil
	case !info.IsDir():
		return nil, misusef("%s is no file", path)
	}
	found, err := os.ReadDir(path)
	var files []string
	for _, f := range found {
		if name := f.Name(); name == journalName || strings.HasPrefix(name, journalName+journal.AsideSuffix) && !strings.HasSuffix(name, journal.MarkSuffix) {
			files = append(files, filepath.Join(path, name))
		}
	}
	if err == nil && len(files) == 0 {
		err = noJournal(path)
	}
	if err != nil {
		return nil, misuse{err}
	}
	return files, nil
}

// noJournal says of a directory without a journal where there are some: those of dev's nodes are one below.
func noJournal(path string) error {
	var below []string
	found, _ := os.ReadDir(path) // without them it says less
	for _, f := range found {
		dir := filepath.Join(path, f.Name())
		if _, err := os.Stat(filepath.Join(dir, journalName)); err == nil {
			below = append(below, dir)
		}
	}
	if len(below) == 0 {
		return fmt.Errorf("%s holds no %s: give a node's data directory, or the file", path, journalName)
	}
	return fmt.Errorf("%s holds no %s, but these do: %s", path, journalName, first(below))
}

// journalOf is the file, or the journal that the node of the directory works with. Others in it have to be named.
func (t *terminal) journalOf(path string) (string, error) {
	files, err := journalsOf(path)
	switch own := filepath.Join(path, journalName); {
	case err != nil:
		return "", err
	case len(files) == 1:
		return files[0], nil
	case slices.Contains(files, own):
		t.note("this is %s; there are also %s", own, first(slices.DeleteFunc(files, func(f string) bool { return f == own })))
		return own, nil
	}
	return "", misusef("%s holds several journals, name one: %s", path, first(files))
}

type verifyReport struct {
	File       string        `json:"file"`
	FailedSync string        `json:"failed_sync"` // what the mark of a failed sync says, "" for none
	Fault      string        `json:"fault"`       // why it could not be read at all
	Copies     []auditReport `json:"copies"`
}

type auditReport struct {
	Copy      shard.CopyID   `json:"copy"`
	Type      shard.TypeName `json:"type"`
	Shard     shard.Number   `json:"shard"`
	Promised  shard.Epoch    `json:"promised"`
	Base      string         `json:"base"` // LSN@epoch right before the log's first record
	Last      string         `json:"last"`
	Confirmed shard.LSN      `json:"confirmed"` // at least so much
	Records   int            `json:"records"`
	Apart     int            `json:"apart"` // snapshots, and what is remembered of requests
	Damage    string         `json:"damage"`
}

// A worst is all the faults of several files, in their order. The worst of them decides how the verb ends: what was found damaged before what
// was not looked at.
type worst struct{ all, decides error }

func (w worst) Error() string { return w.all.Error() }

// Unwrap gives the one that decides.
func (w worst) Unwrap() error { return w.decides }

func worstOf(faults []error) error {
	w := worst{all: errors.Join(faults...)}
	if w.all == nil {
		return nil
	}
	for _, code := range []int{exitFailed, exitRefused, exitMisuse} {
		if i := slices.IndexFunc(faults, func(err error) bool { return exitCode(err) == code }); i >= 0 {
			w.decides = faults[i]
			return w
		}
	}
	return w.all
}

// openJournal opens for reading only.
func openJournal(path string) (*journal.Journal, error) {
	j, err := journal.Open(path, journal.Options{ReadOnly: true})
	switch {
	case errors.Is(err, journal.ErrInUse):
		return nil, &shard.Error{Code: shard.CodeInUse, Detail: fmt.Sprintf("%s is in use by a running node: stop it, or look at a copy of the file", path)}
	case errors.Is(err, journal.ErrWrongFile), errors.Is(err, fs.ErrNotExist):
		return nil, misuse{err}
	}
	return j, err
}

func verifyJournal(path string, accept bool) (r verifyReport, err error) {
	r = verifyReport{File: path, Copies: []auditReport{}}
	j, err := openJournal(path)
	if err != nil {
		r.Fault = err.Error()
		return r, err
	}
	defer j.Close()
	damaged := 0
	for _, a := range j.Audit() {
		one := auditReport{
			Copy: a.State.Copy, Type: a.Shard.Type, Shard: a.Shard.Number, Promised: a.State.Promised, Base: a.State.Base.String(),
			Last: a.State.Last.String(), Confirmed: a.State.Confirmed, Records: a.Records, Apart: a.Apart,
		}
		if a.Damaged != nil {
			damaged++
			one.Damage = a.Damaged.Error()
		}
		r.Copies = append(r.Copies, one)
	}
	if damaged > 0 {
		err = fmt.Errorf("%s: %d of %d copies are damaged", path, damaged, len(r.Copies))
	}
	mark, markErr := journal.Marked(path)
	switch {
	case mark == "":
		return r, errors.Join(err, markErr)
	case accept && err == nil:
		return r, journal.Vouch(path)
	}
	r.FailedSync = mark
	return r, errors.Join(err, fmt.Errorf("%s: a sync failed, so its checksums prove nothing", path))
}

func verifyTable(w *columns, all []verifyReport) {
	if !slices.ContainsFunc(all, func(r verifyReport) bool { return r.Fault == "" }) {
		return // the errors say it all
	}
	w.row("FILE", "COPY", "SHARD", "PROMISED", "STARTS AFTER", "ENDS", "CONFIRMED", "RECORDS", "APART", "STATE")
	for _, r := range all {
		for _, c := range r.Copies {
			state := "sound"
			if c.Damage != "" {
				state = c.Damage
			}
			w.row(r.File, c.Copy, shard.ID{Type: c.Type, Number: c.Shard}, c.Promised, c.Base, c.Last, c.Confirmed, c.Records, c.Apart, state)
		}
	}
	for _, r := range all {
		if r.FailedSync != "" {
			fmt.Fprintf(w, "%s: a sync failed, so this proves nothing: %s\n", r.File, r.FailedSync)
		}
	}
}

var journalDumpVerb = verb{
	use:   "dump FILE|DIR [--copy N]",
	short: "show the records of a journal",
	long: "Prints every record of every copy, or of one: what is kept apart from its log first, snapshots and what is remembered of requests,\n" +
		"then the log. Of a command it shows the events, as they are stored. Of a directory it reads the journal that the node works with. At most a\n" +
		"million records.",
	example: "muster journal dump DIR --copy 91",
	output: `COPY  SHARD       LSN  EPOCH  KIND         ENTITY  SEQ  REQUEST  CONTENT
91    counter/30  1    1      epoch-start  -       -    -        -`,
	args: 1,
	body: func(t *terminal, flags *pflag.FlagSet) func(context.Context, []string) error {
		only := flags.Uint64("copy", 0, "of this copy alone")
		return func(_ context.Context, args []string) error {
			file, err := t.journalOf(args[0])
			if err != nil {
				return err
			}
			j, err := openJournal(file)
			if err != nil {
				return err
			}
			defer j.Close()
			all, err := dumpJournal(j, shard.CopyID(*only))
			if showErr := t.show(all, func(w *columns) { dumpTable(w, all) }); showErr != nil {
				return showErr
			}
			return err
		}
	},
}

type recordReport struct {
	Copy    shard.CopyID    `json:"copy"`
	Type    shard.TypeName  `json:"type"`
	Shard   shard.Number    `json:"shard"`
	Apart   bool            `json:"apart"` // kept beside the log
	LSN     shard.LSN       `json:"lsn"`
	Epoch   shard.Epoch     `json:"epoch"`
	Kind    string          `json:"kind"`
	Entity  shard.EntityID  `json:"entity"`
	Seq     shard.Seq       `json:"seq"`
	Session shard.SessionID `json:"session"` // with number, the request that caused it
	Number  uint64          `json:"number"`
	Events  []eventReport   `json:"events"`
	Body    []byte          `json:"body"` // of what is no command
}

type eventReport struct {
	Name    string `json:"name"`
	Payload []byte `json:"payload"`
}

// dumpJournal reads on behind a damaged copy, and fails in the end.
func dumpJournal(j *journal.Journal, only shard.CopyID) ([]recordReport, error) {
	all, known := []recordReport{}, only == 0
	var faults []error
	for _, s := range j.Copies() {
		if only != 0 && s.State.Copy != only {
			continue
		}
		known = true
		faults = append(faults, j.Each(s.State.Copy, func(e journal.Entry) error {
			if len(all) == mostDumped {
				return fmt.Errorf("more than %d records: name one --copy", mostDumped)
			}
			all = append(all, reportRecord(s, e))
			return nil
		}))
	}
	if !known {
		return all, shard.Errorf(shard.CodeNotFound, "there is no copy %d in it: muster journal verify lists them", only)
	}
	return all, errors.Join(faults...)
}

func reportRecord(s journal.CopyState, e journal.Entry) recordReport {
	r := recordReport{
		Copy: s.State.Copy, Type: s.Shard.Type, Shard: s.Shard.Number, Apart: e.Apart, LSN: e.LSN, Epoch: e.Epoch, Kind: e.Kind, Entity: e.Entity,
		Seq: e.Seq, Session: e.Request.Session, Number: e.Request.Number, Events: []eventReport{},
	}
	o, err := entity.DecodeOutcome(e.Body)
	if e.Kind != "command" || err != nil {
		r.Body = e.Body
		return r
	}
	for _, one := range o.Events {
		r.Events = append(r.Events, eventReport{one.Name, one.Payload})
	}
	return r
}

func dumpTable(w *columns, all []recordReport) {
	w.row("COPY", "SHARD", "LSN", "EPOCH", "KIND", "ENTITY", "SEQ", "REQUEST", "CONTENT")
	for _, r := range all {
		lsn, seq, request := fmt.Sprint(r.LSN), "", ""
		if r.Apart {
			lsn = "apart"
		}
		if r.Seq != 0 {
			seq = fmt.Sprint(r.Seq)
		}
		if r.Session != 0 {
			request = fmt.Sprintf("%d/%d", r.Session, r.Number)
		}
		w.row(r.Copy, shard.ID{Type: r.Type, Number: r.Shard}, lsn, r.Epoch, r.Kind, r.Entity, seq, request, r.content())
	}
}

func (r recordReport) content() string {
	var parts []string
	for _, e := range r.Events {
		parts = append(parts, fmt.Sprintf("%s %q", e.Name, e.Payload))
	}
	if len(r.Body) > 0 {
		parts = append(parts, fmt.Sprintf("%d bytes", len(r.Body)))
	}
	return strings.Join(parts, ", ")
}
