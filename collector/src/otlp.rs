//! Spans that come over plain OTLP, into the same store.

use std::{future::Future, pin::Pin};

use clew_common::otlp::{
    pack::{Pack, Store, StoreError},
    record::Head,
};
use clew_storage::{Decoded, Storage};

/// Stores packs of OTLP requests.
pub struct OtlpStore(pub Storage);

impl Store for OtlpStore {
    fn store(&self, pack: Pack) -> Pin<Box<dyn Future<Output = Result<(), StoreError>> + Send>> {
        let head = Head::of(&pack);
        let decoded = Decoded { raw: pack.raw, spans: pack.spans, traces: pack.traces };
        let appended = self.0.append(head, pack.payload, decoded);
        Box::pin(async move {
            appended.await.map_err(|error| {
                let text = error.to_string();
                if error.is_retryable() { StoreError::Busy(text) } else { StoreError::Closed(text) }
            })
        })
    }
}
