//! What an endpoint said to a request, and whether the OTLP specification lets it be sent again.

use std::time::Duration;

use http::{HeaderMap, StatusCode, header};
use tonic::{Code, Status};

use crate::load::wire::{Fields, Value};

/// An answer, as far as the sender has to act on it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Answer {
    /// The endpoint has taken all spans.
    Accepted,
    /// It has taken the request but not all of its spans; sending again would be wrong.
    Partial { rejected: u64, message: String },
    /// Send it again, after this pause if the endpoint named one.
    Retry { after: Option<Duration>, reason: Reason },
    /// It will never be taken.
    Refused(Reason),
}

/// Why a request was not taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Reason {
    /// A short name to count by: a gRPC code, `HTTP 503`, `no connection`, `timeout`.
    pub(crate) code: String,
    /// What the endpoint said.
    pub(crate) message: String,
}

impl Reason {
    /// A reason that arises on this side.
    pub(crate) fn local(code: &str, message: impl ToString) -> Self {
        Self { code: code.to_owned(), message: message.to_string() }
    }
}

impl Answer {
    /// What a response over gRPC means: `headers` holds the status, from the trailers or from the headers.
    pub(crate) fn from_grpc(http: StatusCode, headers: &HeaderMap, body: &[u8]) -> Self {
        let Some(status) = Status::from_header_map(headers) else {
            return Self::from_proxy(http);
        };
        let reason = || Reason { code: format!("{:?}", status.code()), message: status.message().to_owned() };
        let pause = retry_info(status.details());
        match status.code() {
            // The message follows one byte of flags and four of length.
            Code::Ok => Self::from_success(body.get(5..).unwrap_or_default()),
            Code::Cancelled
            | Code::DeadlineExceeded
            | Code::Aborted
            | Code::OutOfRange
            | Code::Unavailable
            | Code::DataLoss => Self::Retry { after: pause, reason: reason() },
            Code::ResourceExhausted if pause.is_some() => Self::Retry { after: pause, reason: reason() },
            _ => Self::Refused(reason()),
        }
    }

    /// No gRPC status: something in between answered, by HTTP alone.
    fn from_proxy(http: StatusCode) -> Self {
        let reason = Reason::local(&format!("HTTP {}", http.as_u16()), "no gRPC status: is this a gRPC endpoint?");
        if is_retryable(http) { Self::Retry { after: None, reason } } else { Self::Refused(reason) }
    }

    /// What a response over plain HTTP means.
    pub(crate) fn from_http(status: StatusCode, headers: &HeaderMap, body: &[u8]) -> Self {
        if status.is_success() {
            return Self::from_success(body);
        }
        // Errors carry a google.rpc.Status, whose second field is the message.
        let message = text(body, 2).unwrap_or_else(|| status.canonical_reason().unwrap_or_default().to_owned());
        let reason = Reason { code: format!("HTTP {}", status.as_u16()), message };
        if !is_retryable(status) {
            return Self::Refused(reason);
        }
        let seconds = headers.get(header::RETRY_AFTER).and_then(|value| value.to_str().ok()?.trim().parse().ok());
        Self::Retry { after: seconds.map(Duration::from_secs), reason }
    }

    /// Reads an `ExportTraceServiceResponse`. One that cannot be read is a success without more to say.
    fn from_success(body: &[u8]) -> Self {
        let Some(partial) = message(body, 1) else { return Self::Accepted };
        let rejected = Fields::of(partial).flatten().find_map(|field| match field {
            (1, Value::Varint(rejected)) => Some(rejected),
            _ => None,
        });
        match rejected {
            Some(rejected) if rejected > 0 => Self::Partial { rejected, message: text(partial, 2).unwrap_or_default() },
            _ => Self::Accepted,
        }
    }
}

fn is_retryable(status: StatusCode) -> bool {
    matches!(status.as_u16(), 429 | 502 | 503 | 504)
}

fn message(bytes: &[u8], number: u32) -> Option<&[u8]> {
    Fields::of(bytes).flatten().find_map(|field| match field {
        (found, Value::Bytes(message)) if found == number => Some(message),
        _ => None,
    })
}

fn text(bytes: &[u8], number: u32) -> Option<String> {
    message(bytes, number).map(|text| String::from_utf8_lossy(text).into_owned())
}

/// The pause of a google.rpc.RetryInfo among the details of a google.rpc.Status.
fn retry_info(details: &[u8]) -> Option<Duration> {
    let mut infos = Fields::of(details).flatten().filter_map(|field| match field {
        (3, Value::Bytes(any)) => Some(any),
        _ => None,
    });
    let info = infos.find(|any| message(any, 1) == Some(b"type.googleapis.com/google.rpc.RetryInfo"))?;
    let delay = message(message(info, 2).unwrap_or_default(), 1).unwrap_or_default();
    let (mut seconds, mut nanos) = (0, 0);
    for field in Fields::of(delay).flatten() {
        match field {
            (1, Value::Varint(value)) => seconds = value,
            (2, Value::Varint(value)) => nanos = value,
            _ => {}
        }
    }
    // A negative or absurd pause is none.
    let sound = seconds <= 3_600 && nanos < 1_000_000_000;
    Some(if sound { Duration::new(seconds, nanos as u32) } else { Duration::ZERO })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grpc(code: Code, details: &'static [u8]) -> Answer {
        let status = Status::with_details(code, "why", details.into());
        let headers = status.into_http::<()>().headers().clone();
        Answer::from_grpc(StatusCode::OK, &headers, &[])
    }

    /// A google.rpc.Status with a RetryInfo of 1.5 seconds.
    fn details() -> &'static [u8] {
        b"\x08\x0e\x1a\x36\x0a\x28type.googleapis.com/google.rpc.RetryInfo\x12\x0a\x0a\x08\x08\x01\x10\x80\xca\xb5\xee\x01"
    }

    #[test]
    fn the_codes_that_otlp_names_are_retried() {
        use Code::*;
        for code in [Cancelled, DeadlineExceeded, Aborted, OutOfRange, Unavailable, DataLoss] {
            assert!(matches!(grpc(code, b""), Answer::Retry { after: None, .. }), "{code:?}");
        }
        let refused = [
            Unknown,
            InvalidArgument,
            NotFound,
            AlreadyExists,
            PermissionDenied,
            ResourceExhausted,
            FailedPrecondition,
            Unimplemented,
            Internal,
            Unauthenticated,
        ];
        for code in refused {
            assert!(matches!(grpc(code, b""), Answer::Refused(_)), "{code:?}");
        }
    }

    #[test]
    fn retry_info_sets_the_pause_and_makes_resource_exhausted_retryable() {
        let pause = Some(Duration::from_millis(1_500));
        assert!(matches!(grpc(Code::Unavailable, details()), Answer::Retry { after, .. } if after == pause));
        assert!(matches!(grpc(Code::ResourceExhausted, details()), Answer::Retry { after, .. } if after == pause));
    }

    #[test]
    fn http_statuses_are_retried_as_otlp_says() {
        let mut headers = HeaderMap::new();
        headers.insert(header::RETRY_AFTER, "7".parse().unwrap());
        for status in [429, 502, 503, 504] {
            let answer = Answer::from_http(StatusCode::from_u16(status).unwrap(), &headers, b"");
            assert!(matches!(answer, Answer::Retry { after: Some(pause), .. } if pause.as_secs() == 7), "{status}");
        }
        for status in [400, 401, 404, 413, 415, 500] {
            let answer = Answer::from_http(StatusCode::from_u16(status).unwrap(), &headers, b"\x08\x03\x12\x03bad");
            let Answer::Refused(reason) = answer else { panic!("{status}: {answer:?}") };
            assert_eq!((reason.code, reason.message), (format!("HTTP {status}"), "bad".to_owned()));
        }
    }

    #[test]
    fn partial_success_is_final_and_counted() {
        let body = b"\x0a\x08\x08\x03\x12\x04oops";
        let expected = Answer::Partial { rejected: 3, message: "oops".to_owned() };
        assert_eq!(Answer::from_http(StatusCode::OK, &HeaderMap::new(), body), expected);
        // A warning without rejected spans.
        let body = b"\x0a\x06\x12\x04oops";
        assert_eq!(Answer::from_http(StatusCode::OK, &HeaderMap::new(), body), Answer::Accepted);
    }
}
