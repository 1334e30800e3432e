package main

import (
	"context"
	"fmt"
	"net"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/mem"
)

// raw is a gRPC codec that passes bytes through: what is measured is gRPC, not a serialisation.
type raw struct{}

func (raw) Name() string { return "raw" }

func (raw) Marshal(v any) (mem.BufferSlice, error) {
	b, ok := v.(*[]byte)
	if !ok {
		return nil, fmt.Errorf("%T is no *[]byte", v)
	}
	return mem.BufferSlice{mem.SliceBuffer(*b)}, nil
}

func (raw) Unmarshal(data mem.BufferSlice, v any) error {
	b, ok := v.(*[]byte)
	if !ok {
		return fmt.Errorf("%T is no *[]byte", v)
	}
	*b = data.Materialize()
	return nil
}

// An endpoint is what a process of a reference serves: one stream, one unary call. Either may be nil.
type endpoint struct {
	stream func(grpc.ServerStream) error
	unary  func([]byte) []byte
}

const window = 8 << 20 // bytes of flow control, so that it limits nothing

var service = grpc.ServiceDesc{
	ServiceName: "reference",
	HandlerType: (*any)(nil),
	Streams: []grpc.StreamDesc{{
		StreamName: "stream", ServerStreams: true, ClientStreams: true,
		Handler: func(srv any, s grpc.ServerStream) error { return srv.(*endpoint).stream(s) },
	}},
	Methods: []grpc.MethodDesc{{
		MethodName: "unary",
		Handler: func(srv any, _ context.Context, decode func(any) error, _ grpc.UnaryServerInterceptor) (any, error) {
			var in []byte
			if err := decode(&in); err != nil {
				return nil, err
			}
			out := srv.(*endpoint).unary(in)
			return &out, nil
		},
	}},
}

// listen serves the endpoint on a free port and returns its address.
func listen(e *endpoint) (addr string, err error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	s := grpc.NewServer(grpc.ForceServerCodecV2(raw{}), grpc.InitialWindowSize(window), grpc.InitialConnWindowSize(window))
	s.RegisterService(&service, e)
	go s.Serve(l) // until the process ends
	return l.Addr().String(), nil
}

func dial(addr string) (*grpc.ClientConn, error) {
	return grpc.NewClient("passthrough:///"+addr, grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithInitialWindowSize(window), grpc.WithInitialConnWindowSize(window),
		grpc.WithDefaultCallOptions(grpc.ForceCodecV2(raw{})))
}

// stream opens the stream of the endpoint at the address.
func stream(addr string) (grpc.ClientStream, error) {
	conn, err := dial(addr)
	if err != nil {
		return nil, err
	}
	return conn.NewStream(context.Background(), &service.Streams[0], "/reference/stream")
}
