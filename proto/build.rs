//! Compiles the .proto files with protox, so that no protoc is needed.

use std::{env, path::PathBuf};

use prost::Message;
use prost_types::{FieldDescriptorProto, FileDescriptorSet, field_descriptor_proto::Type};

const FILES: [&str; 4] = [
    "clew/v1/intake.proto",
    "clew/v1/query.proto",
    "tempopb/tempo.proto",
    "opentelemetry/proto/collector/trace/v1/trace_service.proto",
];

/// Code is made for these; of the others only the description is kept.
const PACKAGES: [&str; 3] = ["clew.v1", "tempopb", "opentelemetry.proto.common.v1"];

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo:rerun-if-changed=clew");
    println!("cargo:rerun-if-changed=tempopb");
    println!("cargo:rerun-if-changed=opentelemetry");
    let mut files = protox::compile(FILES, ["."])?;
    let out = PathBuf::from(env::var("OUT_DIR")?);
    std::fs::write(out.join("descriptors.bin"), files.encode_to_vec())?;

    carry_spans_as_bytes(&mut files);
    files.file.retain(|file| PACKAGES.contains(&file.package()));
    tonic_prost_build::configure().bytes(".").btree_map(".tempopb").compile_fds(files)?;
    Ok(())
}

/// OTLP spans inside clew.v1 messages are passed on as the bytes they came in. A repeated message and repeated bytes are
/// the same on the wire, so the generated code can use the latter while others see the typed field.
fn carry_spans_as_bytes(files: &mut FileDescriptorSet) {
    let is_spans = |field: &FieldDescriptorProto| field.type_name() == ".opentelemetry.proto.trace.v1.ResourceSpans";
    let messages =
        files.file.iter_mut().filter(|file| file.package() == "clew.v1").flat_map(|file| &mut file.message_type);
    for field in messages.flat_map(|message| &mut message.field).filter(|field| is_spans(field)) {
        field.set_type(Type::Bytes);
        field.type_name = None;
    }
}
