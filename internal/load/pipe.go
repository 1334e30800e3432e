package load

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
)

// A Request is one line to a process that measures; what Do and With mean is the process's own.
type Request struct {
	Do   string          `json:"do"`
	Loop Loop            `json:"loop"`
	With json.RawMessage `json:"with,omitempty"`
}

// answer is one line back.
type answer struct {
	Fault string          `json:"fault,omitempty"`
	Value json.RawMessage `json:"value,omitempty"`
}

// Serve answers the requests that come as lines of JSON on stdin, one after the other, until that ends. Nothing else may
// write to stdout.
func Serve(do func(Request) (any, error)) error {
	in := json.NewDecoder(os.Stdin)
	for {
		var r Request
		if err := in.Decode(&r); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return fmt.Errorf("read a request: %w", err)
		}
		a := answer{}
		value, err := do(r)
		if err == nil {
			a.Value, err = json.Marshal(value)
		}
		if err != nil {
			a.Fault = err.Error()
		}
		if err := json.NewEncoder(os.Stdout).Encode(a); err != nil {
			return fmt.Errorf("answer %s: %w", r.Do, err)
		}
	}
}

// A Process is a program that answers requests on its stdin. It ends when this one does. Safe for concurrent use; requests
// take turns.
type Process struct {
	Name string
	cmd  *exec.Cmd
	log  string
	mu   struct {
		sync.Mutex
		in  io.WriteCloser
		out *bufio.Reader
	}
}

// Start starts a program with additional environment; what it writes to stderr goes to the file NAME.log in dir.
func Start(dir, name string, environ []string, program string, args ...string) (*Process, error) {
	p := &Process{Name: name, cmd: exec.Command(program, args...), log: filepath.Join(dir, name+".log")}
	log, err := os.OpenFile(p.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	defer log.Close()
	p.cmd.Env = append(os.Environ(), environ...)
	p.cmd.Stderr = log
	p.cmd.SysProcAttr = Attached()
	if p.mu.in, err = p.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	p.mu.out = bufio.NewReader(out)
	if err := p.cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	return p, nil
}

// Do sends a request and decodes the answer into value, which may be nil.
func (p *Process) Do(r Request, value any) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	line, err := json.Marshal(r)
	if err != nil {
		return err
	}
	if _, err = p.mu.in.Write(append(line, '\n')); err != nil {
		return p.gone(r, err)
	}
	if line, err = p.mu.out.ReadBytes('\n'); err != nil {
		return p.gone(r, err)
	}
	var a answer
	if err := json.Unmarshal(line, &a); err != nil {
		return fmt.Errorf("%s: answer to %s: %w", p.Name, r.Do, err)
	}
	if a.Fault != "" {
		return fmt.Errorf("%s: %s: %s", p.Name, r.Do, a.Fault)
	}
	if value == nil {
		return nil
	}
	return json.Unmarshal(a.Value, value)
}

// gone says what a process that stopped answering wrote last.
func (p *Process) gone(r Request, err error) error {
	text, _ := os.ReadFile(p.log)
	return fmt.Errorf("%s does not answer %s: %w; it logged: %s", p.Name, r.Do, err, text[max(0, len(text)-1000):])
}

// PID is the process's id.
func (p *Process) PID() int { return p.cmd.Process.Pid }

// Signal sends a signal to the process alone.
func (p *Process) Signal(s syscall.Signal) error { return p.cmd.Process.Signal(s) }

// Kill ends the process with SIGKILL and returns when it is gone. What it started ends with it, if it asked for that.
func (p *Process) Kill() {
	_ = p.cmd.Process.Kill() // it may be gone already
	_ = p.cmd.Wait()         // says that it was killed
}
