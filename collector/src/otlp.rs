//! Spans that come over plain OTLP, into the same store.

use std::{future::Future, pin::Pin};

use clew_common::otlp::{
    pack::{Pack, Store, StoreError},
    record::{Codec, Head},
};
use clew_storage::{AppendError, Storage, decode};

/// Stores packs of OTLP requests.
pub struct OtlpStore(pub Storage);

impl Store for OtlpStore {
    fn store(&self, pack: Pack) -> Pin<Box<dyn Future<Output = Result<(), StoreError>> + Send>> {
        let head = Head::of(&pack);
        let Pack { raw, spans, payload, .. } = pack;
        let raw_bytes = raw.len() as u32;
        let appended =
            decode(Codec::Identity, raw, raw_bytes, spans).map(|decoded| self.0.append(head, payload, decoded));
        Box::pin(async move {
            // Each request of the pack was checked when it came.
            let appended = appended.map_err(|error| StoreError::Closed(error.to_string()))?;
            appended.await.map_err(|error| match error {
                AppendError::Wal(error) => error.into(),
                AppendError::Memory { .. } => StoreError::Busy(error.to_string()),
            })
        })
    }
}
