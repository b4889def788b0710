package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"

	"github.com/gogo/protobuf/jsonpb"
	"github.com/gogo/protobuf/proto"
	"github.com/jaegertracing/jaeger-idl/proto-gen/api_v2"
	"google.golang.org/grpc"
)

// Messages of Jaeger's generated code, which is gogo's.
type gogo struct{}

func (gogo) Name() string { return "proto" }

func (gogo) Marshal(message any) ([]byte, error) { return proto.Marshal(message.(proto.Message)) }

func (gogo) Unmarshal(bytes []byte, message any) error {
	return proto.Unmarshal(bytes, message.(proto.Message))
}

// Asks with the code that Jaeger's clients are built with.
func generated(ctx context.Context, connection *grpc.ClientConn, _ protoFiles, call call) ([]json.RawMessage, error) {
	client := api_v2.NewQueryServiceClient(connection)
	switch call.Method {
	case "jaeger.api_v2.QueryService/GetTrace":
		return streamed(call, func(request *api_v2.GetTraceRequest) (interface {
			Recv() (*api_v2.SpansResponseChunk, error)
		}, error) {
			return client.GetTrace(ctx, request)
		})
	case "jaeger.api_v2.QueryService/FindTraces":
		return streamed(call, func(request *api_v2.FindTracesRequest) (interface {
			Recv() (*api_v2.SpansResponseChunk, error)
		}, error) {
			return client.FindTraces(ctx, request)
		})
	case "jaeger.api_v2.QueryService/GetServices":
		return one(call, func(request *api_v2.GetServicesRequest) (proto.Message, error) {
			return client.GetServices(ctx, request)
		})
	case "jaeger.api_v2.QueryService/GetOperations":
		return one(call, func(request *api_v2.GetOperationsRequest) (proto.Message, error) {
			return client.GetOperations(ctx, request)
		})
	case "jaeger.api_v2.QueryService/GetDependencies":
		return one(call, func(request *api_v2.GetDependenciesRequest) (proto.Message, error) {
			return client.GetDependencies(ctx, request)
		})
	default:
		return nil, errors.New("there is no such method")
	}
}

// A message of its kind, as protobuf's JSON has it.
type message[T any] interface {
	*T
	proto.Message
}

func read[T any, M message[T]](call call) (M, error) {
	request := M(new(T))
	if len(call.Request) == 0 {
		return request, nil
	}
	return request, jsonpb.Unmarshal(bytes.NewReader(call.Request), request)
}

func written(answer proto.Message) (json.RawMessage, error) {
	var text bytes.Buffer
	err := (&jsonpb.Marshaler{}).Marshal(&text, answer)
	return text.Bytes(), err
}

func one[T any, M message[T]](call call, ask func(M) (proto.Message, error)) ([]json.RawMessage, error) {
	request, err := read[T, M](call)
	if err != nil {
		return nil, err
	}
	answer, err := ask(request)
	if err != nil {
		return nil, err
	}
	text, err := written(answer)
	return []json.RawMessage{text}, err
}

func streamed[T any, M message[T]](call call, ask func(M) (interface {
	Recv() (*api_v2.SpansResponseChunk, error)
}, error)) ([]json.RawMessage, error) {
	request, err := read[T, M](call)
	if err != nil {
		return nil, err
	}
	stream, err := ask(request)
	if err != nil {
		return nil, err
	}
	answers := []json.RawMessage{}
	for {
		chunk, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return answers, nil
		} else if err != nil {
			return nil, err
		}
		text, err := written(chunk)
		if err != nil {
			return nil, err
		}
		answers = append(answers, text)
	}
}
