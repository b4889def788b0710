//! google.rpc.Status, as gRPC's error details and OTLP/HTTP's error bodies carry it.

use std::time::Duration;

use bytes::Bytes;
use prost::Message;

/// google.rpc.Status.
#[derive(Clone, PartialEq, Message)]
pub struct RpcStatus {
    /// A gRPC status code.
    #[prost(int32, tag = "1")]
    pub code: i32,
    /// For people.
    #[prost(string, tag = "2")]
    pub message: String,
    /// More, for programs.
    #[prost(message, repeated, tag = "3")]
    pub details: Vec<AnyMessage>,
}

/// google.protobuf.Any.
#[derive(Clone, PartialEq, Message)]
pub struct AnyMessage {
    /// What `value` is.
    #[prost(string, tag = "1")]
    pub type_url: String,
    /// The encoded message.
    #[prost(bytes = "vec", tag = "2")]
    pub value: Vec<u8>,
}

/// google.rpc.RetryInfo.
#[derive(Clone, PartialEq, Message)]
struct RetryInfo {
    #[prost(message, optional, tag = "1")]
    retry_delay: Option<RetryDelay>,
}

/// google.protobuf.Duration.
#[derive(Clone, PartialEq, Message)]
struct RetryDelay {
    #[prost(int64, tag = "1")]
    seconds: i64,
    #[prost(int32, tag = "2")]
    nanos: i32,
}

impl RpcStatus {
    /// A status; with `retry_after` it carries RetryInfo.
    pub fn new(code: tonic::Code, message: &str, retry_after: Option<Duration>) -> Self {
        let retry_info = retry_after.map(|delay| AnyMessage {
            type_url: "type.googleapis.com/google.rpc.RetryInfo".to_owned(),
            value: RetryInfo {
                retry_delay: Some(RetryDelay { seconds: delay.as_secs() as i64, nanos: delay.subsec_nanos() as i32 }),
            }
            .encode_to_vec(),
        });
        Self { code: code as i32, message: message.to_owned(), details: retry_info.into_iter().collect() }
    }

    /// The same as tonic's status.
    pub fn to_tonic(&self) -> tonic::Status {
        let details = if self.details.is_empty() { Bytes::new() } else { self.encode_to_vec().into() };
        tonic::Status::with_details(tonic::Code::from_i32(self.code), self.message.clone(), details)
    }
}
