//! Spans as they come.

use std::collections::VecDeque;

use bytes::Bytes;
use clew_common::shutdown::Drain;
use clew_proto::v1::TailResponse;
use futures_util::{Stream, stream};
use tonic::Status;

use crate::queries::{Followed, Follower, partial::reasons, parts};

/// What is sent, until the collector stops.
pub fn messages(follower: Follower, drain: Drain) -> impl Stream<Item = Result<TailResponse, Status>> {
    let first = TailResponse { cursor: follower.cursor().to_string(), ..TailResponse::default() };
    stream::unfold(Some((follower, VecDeque::from([first]), drain)), |state| async {
        let (mut follower, mut waiting, drain) = state?;
        if let Some(message) = waiting.pop_front() {
            return Some((Ok(message), Some((follower, waiting, drain))));
        }
        let next = tokio::select! {
            biased;
            () = drain.begun() => Err(Status::unavailable("the collector stops; go on after the last cursor")),
            next = follower.next() => next.map_err(Status::from),
        };
        match next {
            Ok(followed) => {
                waiting.extend(cut(followed));
                let message = waiting.pop_front()?;
                Some((Ok(message), Some((follower, waiting, drain))))
            }
            Err(status) => Some((Err(status), None)),
        }
    })
}

/// As messages, of which the last one has the cursor.
fn cut(Followed { otlp, cursor, missing }: Followed) -> Vec<TailResponse> {
    let parts = parts::cut(parts::resource_spans(&otlp), Bytes::len);
    let message = |resource_spans| TailResponse { resource_spans, ..TailResponse::default() };
    let mut messages: Vec<_> = parts.into_iter().map(message).collect();
    if let Some(last) = messages.last_mut() {
        last.cursor = cursor.map(|cursor| cursor.to_string()).unwrap_or_default();
        last.partial_reasons = reasons(missing);
    }
    messages
}
