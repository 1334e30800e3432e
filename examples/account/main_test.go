package main

import (
	"bytes"
	"os"
	"testing"
)

// The whole program: an event-sourced entity and a node that hosts it. What it journals is there when it runs again.
func Example() {
	dir, err := os.MkdirTemp("", "account")
	if err != nil {
		panic(err)
	}
	defer os.RemoveAll(dir)
	if err := os.Chdir(dir); err != nil {
		panic(err)
	}
	main()
	main()
	// Output:
	// 100 <nil>
	// 200 <nil>
}

// The promise is that this takes 25 lines.
func TestItStaysShort(t *testing.T) {
	source, err := os.ReadFile("main.go")
	if err != nil {
		t.Fatal(err)
	}
	if n := bytes.Count(source, []byte("\n")); n > 25 {
		t.Errorf("main.go has %d lines", n)
	}
}
