package main

import (
	"bufio"
	"bytes"
	"compress/gzip"
	_ "embed"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"time"
)

// columns of a file of transactions, separated by semicolons. The amount is never negative, its sign follows from the
// type. The balance is the bank's own, rounded, and not read.
var columns = []string{
	"trans_id", "account_id", "date", "type", "operation", "amount", "balance", "k_symbol", "bank", "account",
}

const (
	maxFaults = 20             // reported of one file
	maxAmount = 1_000_000_0000 // hundredths, one row: keeps every sum of a file far from overflow
	maxRows   = 50_000_000
)

// signs of the types. VYBER appears as a type of its own in old rows: a withdrawal in cash.
var signs = map[string]int64{"PRIJEM": +1, "VYDAJ": -1, "VYBER": -1}

//go:embed transactions.csv.gz
var generated []byte

// A posting is one row.
type posting struct {
	account int64
	amount  int64 // hundredths, negative for a debit
}

// readFile reads and checks a whole file before anything of it is posted; "" is the one that comes with the program. Every
// fault names its line; a file with any fault is not used.
func readFile(path string) ([]posting, error) {
	if path == "" {
		return read(bytes.NewReader(generated), "the built-in file")
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, misuse{err}
	}
	defer f.Close()
	return read(f, path)
}

func read(file io.Reader, name string) ([]posting, error) {
	plain, err := decompress(bufio.NewReader(file))
	if err != nil {
		return nil, misuse{fmt.Errorf("%s: %w", name, err)}
	}
	r := rows{name: name, csv: csv.NewReader(plain), seen: map[int64]int{}}
	r.csv.Comma, r.csv.FieldsPerRecord, r.csv.ReuseRecord = ';', -1, true
	if err := r.read(); err != nil {
		return nil, misuse{err}
	}
	return r.postings, nil
}

// decompress looks at the first bytes, not at the name, and passes over a byte order mark.
func decompress(r *bufio.Reader) (io.Reader, error) {
	if start, _ := r.Peek(2); string(start) == "\x1f\x8b" {
		z, err := gzip.NewReader(r)
		if err != nil {
			return nil, err
		}
		r = bufio.NewReader(z)
	}
	if start, _ := r.Peek(3); string(start) == "\ufeff" {
		r.Discard(3)
	}
	return r, nil
}

// rows reads one file.
type rows struct {
	name     string
	csv      *csv.Reader
	seen     map[int64]int // line of each transaction
	postings []posting
	faults   []error
}

func (r *rows) fault(line int, format string, args ...any) {
	r.faults = append(r.faults, fmt.Errorf("%s:%d: %s", r.name, line, fmt.Sprintf(format, args...)))
}

func (r *rows) read() error {
	for first := true; len(r.faults) < maxFaults; first = false {
		fields, err := r.csv.Read()
		if err == io.EOF {
			break
		}
		if err != nil {
			return errors.Join(append(r.faults, r.broken(err))...) // where the next row starts is not known any more
		}
		line, _ := r.csv.FieldPos(0)
		switch {
		case first:
			r.header(line, fields)
		case len(fields) != len(columns):
			r.fault(line, "%d fields instead of %d", len(fields), len(columns))
		case len(r.postings) == maxRows:
			r.fault(line, "more than %d rows", maxRows)
			return errors.Join(r.faults...)
		default:
			r.row(line, fields)
		}
	}
	if len(r.faults) == maxFaults {
		r.faults = append(r.faults, fmt.Errorf("%s: and perhaps more: these are the first %d", r.name, maxFaults))
	}
	if len(r.faults) == 0 && len(r.postings) == 0 {
		return fmt.Errorf("%s: no transactions", r.name)
	}
	return errors.Join(r.faults...)
}

func (r *rows) broken(err error) error {
	var p *csv.ParseError
	if errors.As(err, &p) {
		return fmt.Errorf("%s:%d: %w", r.name, p.StartLine, p.Err)
	}
	return fmt.Errorf("%s: after line %d: %w", r.name, len(r.postings)+1, err)
}

func (r *rows) header(line int, fields []string) {
	if got, want := strings.Join(fields, ";"), strings.Join(columns, ";"); got != want {
		r.fault(line, "the header is %.200q, it should be %q", got, want)
	}
}

func (r *rows) row(line int, fields []string) {
	id, err := positive(fields[0])
	if err != nil {
		r.fault(line, "trans_id %v", err)
	} else if before := r.seen[id]; before > 0 {
		r.fault(line, "transaction %d was in line %d already", id, before)
	} else {
		r.seen[id] = line
	}
	account, err := positive(fields[1])
	if err != nil {
		r.fault(line, "account_id %v", err)
	}
	if _, err := time.Parse("060102", fields[2]); err != nil {
		r.fault(line, "date %.40q is not YYMMDD", fields[2])
	}
	sign, known := signs[fields[3]]
	if !known {
		r.fault(line, "type %.40q is not PRIJEM, VYDAJ or VYBER", fields[3])
	}
	amount, err := hundredths(fields[5])
	if err != nil {
		r.fault(line, "amount %v", err)
	}
	r.postings = append(r.postings, posting{account, sign * amount})
}

func positive(s string) (int64, error) {
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil || n < 1 || s[0] == '+' {
		return 0, fmt.Errorf("%.40q is not a positive number", s)
	}
	return n, nil
}

// hundredths reads a decimal number with at most two decimals, without the detour of floating point.
func hundredths(s string) (int64, error) {
	whole, decimals, point := strings.Cut(s, ".")
	digits := whole + (decimals + "00")[:max(2, len(decimals))]
	if whole == "" || len(decimals) > 2 || (point && decimals == "") || strings.Trim(digits, "0123456789") != "" {
		return 0, fmt.Errorf("%.40q is not a number with at most two decimals", s)
	}
	n, err := strconv.ParseInt(digits, 10, 64)
	if err != nil || n > maxAmount {
		return 0, fmt.Errorf("%.40q is above %d.%02d", s, maxAmount/100, maxAmount%100)
	}
	return n, nil
}

// sums adds up a file without any help of the group: what every account must hold in the end.
func sums(postings []posting) map[int64]Account {
	want := map[int64]Account{}
	for _, p := range postings {
		a := want[p.account]
		want[p.account] = Account{Balance: a.Balance + p.amount, Postings: a.Postings + 1}
	}
	return want
}
