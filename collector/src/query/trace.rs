//! One trace by its id.

use bytes::Bytes;
use clew_common::ids::{Tenant, TraceId};
use clew_proto::v1::{GetTraceRequest, GetTraceResponse};
use tonic::Status;

use crate::{
    lookup::{Lookup, Trace},
    queries::{partial::reasons, parts},
};

/// The messages of an answer.
pub async fn get(
    lookup: &Lookup,
    tenant: &Tenant,
    GetTraceRequest { trace_id }: &GetTraceRequest,
) -> Result<Vec<GetTraceResponse>, Status> {
    let id = TraceId::from_slice(trace_id).ok_or_else(|| {
        let bytes = trace_id.len();
        Status::invalid_argument(format!("trace_id has to be 16 bytes that are not all zero; it has {bytes}"))
    })?;
    let found = lookup.trace(tenant, id).await?;
    if found.spans.is_empty() && found.partial_reasons.is_empty() {
        return Err(Status::not_found(format!("no span of trace {id} is known")));
    }
    Ok(messages(found))
}

fn messages(found: Trace) -> Vec<GetTraceResponse> {
    let parts = parts::cut(parts::pieces(&found.spans), Bytes::len);
    let message = |resource_spans| GetTraceResponse { resource_spans, ..GetTraceResponse::default() };
    let mut messages: Vec<_> = parts.into_iter().map(message).collect();
    if let Some(last) = messages.last_mut() {
        last.partial = !found.partial_reasons.is_empty();
        last.partial_reasons = reasons(found.partial_reasons);
    }
    messages
}

#[cfg(test)]
mod tests {
    use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span, TracesData};
    use prost::Message;

    use super::*;

    #[test]
    fn a_resource_with_many_spans_is_cut_into_messages_that_clients_take() {
        let span = |number: u8| Span { span_id: vec![number; 8], name: "x".repeat(1 << 19), ..Span::default() };
        let scope_spans = vec![ScopeSpans { spans: (0..16).map(span).collect(), ..ScopeSpans::default() }];
        let resource_spans = vec![ResourceSpans { scope_spans, ..ResourceSpans::default() }];
        let spans = TracesData { resource_spans }.encode_to_vec().into();
        let messages = messages(Trace { spans, partial_reasons: vec!["late".to_owned()] });
        let most = messages.iter().map(Message::encoded_len).max();
        assert!(most.is_some_and(|most| most < 4 << 20), "{most:?}");
        let pieces = messages.iter().flat_map(|message| &message.resource_spans);
        let scopes = pieces.flat_map(|piece| ResourceSpans::decode(piece.clone()).unwrap().scope_spans);
        let ids: Vec<u8> = scopes.flat_map(|scope| scope.spans).map(|span| span.span_id[0]).collect();
        assert_eq!(ids, (0..16).collect::<Vec<_>>());
        let partial: Vec<bool> = messages.iter().map(|message| message.partial).collect();
        assert!(partial.ends_with(&[false, true]), "{partial:?}");
    }
}
