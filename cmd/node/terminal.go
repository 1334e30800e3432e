package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"
)

// terminal is what a verb reads from and writes to.
type terminal struct {
	out, err io.Writer
	environ  []string
	json     bool // -o json
}

// show prints one result: as one JSON document for a program, or by table for a person.
func (t *terminal) show(document any, table func(w *columns)) error {
	if t.json {
		return t.document(document)
	}
	w := &columns{tabwriter.NewWriter(t.out, 0, 0, 2, ' ', 0)}
	table(w)
	return w.Flush()
}

// document prints a JSON document on one line.
func (t *terminal) document(d any) error {
	b, err := json.Marshal(d)
	if err == nil {
		_, err = fmt.Fprintf(t.out, "%s\n", b)
	}
	return err
}

// note tells something beside the result.
func (t *terminal) note(format string, args ...any) {
	if text := fmt.Sprintf(format, args...); t.json {
		t.aside(map[string]string{"note": text})
	} else {
		fmt.Fprintln(t.err, text)
	}
}

// fail says with what error the verb ended, last of all.
func (t *terminal) fail(err error) {
	switch {
	case err == nil, errors.Is(err, errUnread):
	case t.json:
		t.aside(map[string]failure{"error": failureOf(err)})
	default:
		fmt.Fprintln(t.err, "muster:", sentence(err))
	}
}

// aside prints a JSON document where it is not taken for the result.
func (t *terminal) aside(d any) {
	if b, err := json.Marshal(d); err == nil {
		fmt.Fprintf(t.err, "%s\n", b)
	}
}

// columns writes aligned rows.
type columns struct{ *tabwriter.Writer }

func (c *columns) row(cells ...any) {
	texts := make([]string, len(cells))
	for i, cell := range cells {
		if texts[i] = fmt.Sprint(cell); texts[i] == "" {
			texts[i] = "-"
		}
	}
	fmt.Fprintln(c, strings.Join(texts, "\t"))
}

// age prints a duration as a person reads it.
func age(d time.Duration) string {
	switch {
	case d < time.Second:
		return d.Round(time.Millisecond).String()
	default:
		return d.Round(100 * time.Millisecond).String()
	}
}

func yes(b bool) string {
	if b {
		return "yes"
	}
	return "no"
}
