//! clew.v1, the agent stream and the query service; tempopb, which Tempo's clients speak; and jaeger, for Jaeger's.
//!
//! The `.proto` files beside this crate are the reference; `docs/protocol.md` tells how the messages play together.

pub use clew::v1;

/// The generated messages, clients and servers.
#[allow(unreachable_pub, clippy::all, rust_2018_idioms, missing_docs)]
pub mod clew {
    pub mod v1 {
        tonic::include_proto!("clew.v1");
    }
}

/// The generated messages, clients and servers of Jaeger's APIs.
#[allow(unreachable_pub, clippy::all, rust_2018_idioms, missing_docs)]
pub mod jaeger {
    pub mod api_v2 {
        tonic::include_proto!("jaeger.api_v2");
    }
    pub mod api_v3 {
        tonic::include_proto!("jaeger.api_v3");
    }
    pub mod storage {
        pub mod v1 {
            tonic::include_proto!("jaeger.storage.v1");
        }
        pub mod v2 {
            tonic::include_proto!("jaeger.storage.v2");
        }
    }
}

/// The generated messages, clients and servers of Tempo's API.
#[allow(unreachable_pub, clippy::all, rust_2018_idioms, missing_docs)]
pub mod tempopb {
    tonic::include_proto!("tempopb");
}

/// What these take from OTLP: values of attributes, and TracesData with its ResourceSpans as the bytes they are.
#[allow(unreachable_pub, clippy::all, rust_2018_idioms, missing_docs)]
pub mod opentelemetry {
    pub mod proto {
        pub mod common {
            pub mod v1 {
                tonic::include_proto!("opentelemetry.proto.common.v1");
            }
        }
        pub mod trace {
            pub mod v1 {
                tonic::include_proto!("opentelemetry.proto.trace.v1");
            }
        }
    }
}

/// The encoded `FileDescriptorSet` of clew.v1, jaeger, tempopb and OTLP, for server reflection.
pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));
