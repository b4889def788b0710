//! W3C trace context in headers: of HTTP, of gRPC (its metadata) and of messages.

use std::collections::HashMap;

use http::{HeaderMap, HeaderName, HeaderValue};
use opentelemetry::{
    Context,
    propagation::{Extractor, Injector, TextMapPropagator},
    trace::TraceContextExt,
};
use opentelemetry_sdk::propagation::TraceContextPropagator;
use tonic::metadata::MetadataMap;

/// Headers of HTTP, as the SDK's propagator reads and writes them.
struct Headers<T>(T);

impl Injector for Headers<&mut HeaderMap> {
    fn set(&mut self, key: &str, value: String) {
        if let (Ok(name), Ok(value)) = (key.parse::<HeaderName>(), HeaderValue::try_from(value)) {
            self.0.insert(name, value);
        }
    }
}

impl Extractor for Headers<&HeaderMap> {
    fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key)?.to_str().ok()
    }

    fn keys(&self) -> Vec<&str> {
        self.0.keys().map(HeaderName::as_str).collect()
    }
}

/// The caller's span, from the headers of its request.
pub(crate) fn from_headers(headers: &HeaderMap) -> Context {
    TraceContextPropagator::new().extract_with_context(&Context::new(), &Headers(headers))
}

/// Headers that tell the callee about the span of `context`.
pub(crate) fn to_headers(context: &Context) -> HeaderMap {
    let mut headers = HeaderMap::new();
    TraceContextPropagator::new().inject_context(context, &mut Headers(&mut headers));
    headers
}

/// The same for gRPC.
pub(crate) fn to_metadata(context: &Context) -> MetadataMap {
    MetadataMap::from_headers(to_headers(context))
}

/// The sender's span, from the properties of its message.
pub(crate) fn from_properties(properties: &HashMap<String, String>) -> Context {
    TraceContextPropagator::new().extract_with_context(&Context::new(), properties)
}

/// Properties that tell a message's consumer about the span of `context`.
pub(crate) fn to_properties(context: &Context) -> HashMap<String, String> {
    let mut properties = HashMap::new();
    TraceContextPropagator::new().inject_context(context, &mut properties);
    properties
}

/// The response header of W3C Trace Context Level 2 that tells a caller which trace its request is in.
pub(crate) const TRACE_RESPONSE: &str = "traceresponse";

/// Its value for the span of `context`.
pub(crate) fn trace_response(context: &Context) -> Option<HeaderValue> {
    let span = context.span().span_context().clone();
    HeaderValue::try_from(format!("00-{}-{}-{:02x}", span.trace_id(), span.span_id(), span.trace_flags())).ok()
}

/// The trace id in such a header.
pub(crate) fn trace_id(headers: &HeaderMap) -> Option<[u8; 16]> {
    let mut parts = headers.get(TRACE_RESPONSE)?.to_str().ok()?.split('-');
    let mut id = [0; 16];
    hex::decode_to_slice(parts.nth(1)?, &mut id).ok()?;
    Some(id)
}

#[cfg(test)]
mod tests {
    use opentelemetry::trace::{SpanContext, SpanId, TraceFlags, TraceId, TraceState};

    use super::*;

    #[test]
    fn a_span_travels_in_headers_of_every_kind() {
        let span = SpanContext::new(
            TraceId::from(0x4bf9_2f35_77b3_4da6_a3ce_929d_0e0e_4736),
            SpanId::from(0x00f0_67aa_0ba9_02b7),
            TraceFlags::SAMPLED,
            true,
            TraceState::default(),
        );
        let context = Context::new().with_remote_span_context(span.clone());
        let seen = |context: Context| context.span().span_context().clone();
        assert_eq!(seen(from_headers(&to_headers(&context))), span);
        assert_eq!(seen(from_headers(&to_metadata(&context).into_headers())), span);
        assert_eq!(seen(from_properties(&to_properties(&context))), span);

        let headers = HeaderMap::from_iter([(TRACE_RESPONSE.parse().unwrap(), trace_response(&context).unwrap())]);
        assert_eq!(trace_id(&headers), Some(span.trace_id().to_bytes()));
    }
}
