package main

import (
	"context"
	"strings"

	"github.com/bufbuild/protocompile"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"

	// What Jaeger's files import.
	_ "github.com/google/gnostic-models/openapiv3"
	_ "go.opentelemetry.io/proto/otlp/trace/v1"
	_ "google.golang.org/genproto/googleapis/api/annotations"
	_ "google.golang.org/protobuf/types/known/durationpb"
	_ "google.golang.org/protobuf/types/known/timestamppb"
)

type protoFiles interface {
	FindDescriptorByName(name protoreflect.FullName) (protoreflect.Descriptor, error)
}

// Jaeger's .proto files that have no generated code.
func compile(ctx context.Context, folder string) (protoFiles, error) {
	imported := protocompile.ResolverFunc(func(path string) (protocompile.SearchResult, error) {
		// Generated code calls it otherwise than the files do.
		if name, is := strings.CutPrefix(path, "gnostic/"); is {
			source := `syntax = "proto3"; import public "` + name + `";`
			return protocompile.SearchResult{Source: strings.NewReader(source)}, nil
		}
		file, err := protoregistry.GlobalFiles.FindFileByPath(path)
		return protocompile.SearchResult{Desc: file}, err
	})
	compiler := protocompile.Compiler{Resolver: protocompile.CompositeResolver{
		&protocompile.SourceResolver{ImportPaths: []string{folder}}, imported,
	}}
	files, err := compiler.Compile(ctx, "api_v3/query_service.proto", "api_v3/capabilities.proto",
		"storage/v2/trace_storage.proto", "storage/v2/dependency_storage.proto", "storage/v2/capabilities.proto")
	if err != nil {
		return nil, err
	}
	return files.AsResolver(), nil
}
