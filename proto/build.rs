//! Compiles the .proto files with protox, so that no protoc is needed.

use std::{env, path::PathBuf};

use prost::Message;
use prost_types::{FieldDescriptorProto, FileDescriptorSet, field_descriptor_proto::Type};

const FILES: [&str; 10] = [
    "clew/v1/intake.proto",
    "clew/v1/query.proto",
    "jaeger/api_v2/query.proto",
    "jaeger/api_v3/query.proto",
    "jaeger/storage/v1/capabilities.proto",
    "jaeger/storage/v2/capabilities.proto",
    "jaeger/storage/v2/dependencies.proto",
    "jaeger/storage/v2/traces.proto",
    "tempopb/tempo.proto",
    "opentelemetry/proto/collector/trace/v1/trace_service.proto",
];

/// Code is made for these; of the others only the description is kept.
const PACKAGES: [&str; 9] = [
    "clew.v1",
    "google.protobuf",
    "jaeger.api_v2",
    "jaeger.api_v3",
    "jaeger.storage.v1",
    "jaeger.storage.v2",
    "tempopb",
    "opentelemetry.proto.common.v1",
    TRACE,
];
/// Of this one, for what is made of spans.
const TRACE: &str = "opentelemetry.proto.trace.v1";

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo:rerun-if-changed=clew");
    println!("cargo:rerun-if-changed=jaeger");
    println!("cargo:rerun-if-changed=tempopb");
    println!("cargo:rerun-if-changed=opentelemetry");
    let mut files = protox::compile(FILES, ["."])?;
    let out = PathBuf::from(env::var("OUT_DIR")?);
    std::fs::write(out.join("descriptors.bin"), files.encode_to_vec())?;

    carry_spans_as_bytes(&mut files);
    files.file.retain(|file| PACKAGES.contains(&file.package()));
    tonic_prost_build::configure().bytes(".").btree_map(".jaeger").btree_map(".tempopb").compile_fds(files)?;
    Ok(())
}

/// OTLP spans inside messages are passed on as the bytes they came in. A repeated message and repeated bytes are
/// the same on the wire, so the generated code can use the latter while others see the typed field. Of OTLP's own messages only
/// TracesData is left, which Jaeger's services answer with.
fn carry_spans_as_bytes(files: &mut FileDescriptorSet) {
    let is_spans = |field: &FieldDescriptorProto| field.type_name() == ".opentelemetry.proto.trace.v1.ResourceSpans";
    for file in &mut files.file {
        if file.package() == TRACE {
            file.message_type.retain(|message| message.name() == "TracesData");
        }
        let fields = file.message_type.iter_mut().flat_map(|message| &mut message.field);
        for field in fields.filter(|field| is_spans(field)) {
            field.set_type(Type::Bytes);
            field.type_name = None;
        }
    }
}
