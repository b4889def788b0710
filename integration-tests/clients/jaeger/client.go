// Command client asks as Jaeger's own clients do: with the messages of the module jaeger-idl, and nothing that the server says of its own.
//
//	client PROTO ADDRESS STORAGE
//
// PROTO is the folder proto of jaeger-idl. The services of jaeger.storage are asked at STORAGE, all others at ADDRESS. Calls are read from
// standard input, a list of {"method", "request"}; what is printed is, for each, a list of messages in protobuf's JSON.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"os"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/dynamicpb"
)

type call struct {
	Method  string          `json:"method"`
	Request json.RawMessage `json:"request"`
}

func main() {
	if err := run(os.Args[1:]); err != nil {
		log.Fatal(err)
	}
}

func run(arguments []string) error {
	if len(arguments) != 3 {
		return errors.New("usage: client PROTO ADDRESS STORAGE")
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	var calls []call
	if err := json.NewDecoder(os.Stdin).Decode(&calls); err != nil {
		return err
	}
	files, err := compile(ctx, arguments[0])
	if err != nil {
		return err
	}
	answers := make([][]json.RawMessage, 0, len(calls))
	for _, call := range calls {
		address := arguments[1]
		if strings.HasPrefix(call.Method, "jaeger.storage.") {
			address = arguments[2]
		}
		ask, options := dynamic, []grpc.DialOption{grpc.WithTransportCredentials(insecure.NewCredentials())}
		if strings.HasPrefix(call.Method, "jaeger.api_v2.") {
			ask, options = generated, append(options, grpc.WithDefaultCallOptions(grpc.ForceCodec(gogo{})))
		}
		connection, err := grpc.NewClient(address, options...)
		if err != nil {
			return err
		}
		defer connection.Close()
		answer, err := ask(ctx, connection, files, call)
		if err != nil {
			return fmt.Errorf("%s: %w", call.Method, err)
		}
		answers = append(answers, answer)
	}
	return json.NewEncoder(os.Stdout).Encode(answers)
}

// Asks with a message that is made of the .proto files when this runs: jaeger-idl has generated code for api_v2 only.
func dynamic(ctx context.Context, connection *grpc.ClientConn, files protoFiles, call call) ([]json.RawMessage, error) {
	service, name, _ := strings.Cut(call.Method, "/")
	found, err := files.FindDescriptorByName(protoreflect.FullName(service))
	if err != nil {
		return nil, err
	}
	described, ok := found.(protoreflect.ServiceDescriptor)
	if !ok || described.Methods().ByName(protoreflect.Name(name)) == nil {
		return nil, errors.New("there is no such method")
	}
	method := described.Methods().ByName(protoreflect.Name(name))
	request := dynamicpb.NewMessage(method.Input())
	if len(call.Request) > 0 {
		if err := protojson.Unmarshal(call.Request, request); err != nil {
			return nil, err
		}
	}
	stream, err := connection.NewStream(ctx, &grpc.StreamDesc{ServerStreams: true}, "/"+call.Method)
	if err != nil {
		return nil, err
	}
	if err := errors.Join(stream.SendMsg(request), stream.CloseSend()); err != nil {
		return nil, err
	}
	answers := []json.RawMessage{}
	for {
		answer := dynamicpb.NewMessage(method.Output())
		if err := stream.RecvMsg(answer); errors.Is(err, io.EOF) {
			return answers, nil
		} else if err != nil {
			return nil, err
		}
		if unknown := unknownFields(answer.ProtoReflect()); unknown != "" {
			return nil, fmt.Errorf("%s has fields that Jaeger does not know", unknown)
		}
		text, err := protojson.Marshal(answer)
		if err != nil {
			return nil, err
		}
		answers = append(answers, text)
	}
}

// The first message in another one with fields that have no name.
func unknownFields(message protoreflect.Message) string {
	if len(message.GetUnknown()) > 0 {
		return string(message.Descriptor().FullName())
	}
	found := ""
	message.Range(func(field protoreflect.FieldDescriptor, value protoreflect.Value) bool {
		switch {
		case field.Kind() != protoreflect.MessageKind || field.IsMap():
		case field.IsList():
			for at := range value.List().Len() {
				if found == "" {
					found = unknownFields(value.List().Get(at).Message())
				}
			}
		default:
			found = unknownFields(value.Message())
		}
		return found == ""
	})
	return found
}
