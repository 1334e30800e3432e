//go:build ignore

// Command protogen turns the wire schema into Go without a protoc installation: it compiles the schema itself and feeds
// the result to the two standard plugins, run at the versions that tools/go.mod pins. Run it from the module's root:
//
//	go run -modfile=tools/go.mod internal/protogen/main.go [-check]
//
// With -check it writes nothing and fails when a generated file is not what the schema says.
//
// The build tag keeps the compiler out of go.mod, for `go mod tidy` looks behind every other tag.
package main

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"os"
	"os/exec"

	"github.com/bufbuild/protocompile"
	"github.com/bufbuild/protocompile/protoutil"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/descriptorpb"
	"google.golang.org/protobuf/types/pluginpb"
)

const schema = "transport/wire/muster.proto"

func main() {
	check := flag.Bool("check", false, "fail when a generated file is out of date, write nothing")
	flag.Parse()
	if err := run(*check); err != nil {
		fmt.Fprintln(os.Stderr, "protogen:", err)
		os.Exit(1)
	}
}

func run(check bool) error {
	request, err := compile()
	if err != nil {
		return err
	}
	for _, plugin := range []string{"protoc-gen-go", "protoc-gen-go-grpc"} {
		files, err := generate(plugin, request)
		if err != nil {
			return fmt.Errorf("%s: %w", plugin, err)
		}
		for _, f := range files {
			if err := place(f.GetName(), []byte(f.GetContent()), check); err != nil {
				return err
			}
		}
	}
	return nil
}

// compile returns the request that protoc would hand to a plugin, comments included.
func compile() ([]byte, error) {
	compiler := protocompile.Compiler{
		Resolver:       &protocompile.SourceResolver{ImportPaths: []string{"."}},
		SourceInfoMode: protocompile.SourceInfoStandard,
	}
	compiled, err := compiler.Compile(context.Background(), schema)
	if err != nil {
		return nil, err
	}
	return proto.Marshal(&pluginpb.CodeGeneratorRequest{
		FileToGenerate: []string{schema},
		Parameter:      proto.String("paths=source_relative"),
		ProtoFile:      []*descriptorpb.FileDescriptorProto{protoutil.ProtoFromFileDescriptor(compiled[0])},
	})
}

func generate(plugin string, request []byte) ([]*pluginpb.CodeGeneratorResponse_File, error) {
	cmd := exec.Command("go", "tool", "-modfile=tools/go.mod", plugin)
	cmd.Stdin, cmd.Stderr = bytes.NewReader(request), os.Stderr
	out, err := cmd.Output()
	if err != nil {
		return nil, err
	}
	var response pluginpb.CodeGeneratorResponse
	if err := proto.Unmarshal(out, &response); err != nil {
		return nil, err
	}
	if response.Error != nil {
		return nil, fmt.Errorf("%s", response.GetError())
	}
	return response.File, nil
}

func place(path string, content []byte, check bool) error {
	if !check {
		return os.WriteFile(path, content, 0o644)
	}
	have, err := os.ReadFile(path)
	if err == nil && !bytes.Equal(have, content) {
		err = fmt.Errorf("%s is not what %s says: run make generate", path, schema)
	}
	return err
}
