//! Spans that come over plain OTLP, into the same store.

use std::{future::Future, pin::Pin, time::Duration};

use clew_common::{
    log::Work,
    otlp::{
        pack::{Pack, Store, StoreError},
        record::{Codec, Head},
    },
};
use clew_storage::{AppendError, Storage};

/// Requests wait this long for memory before their senders are told to retry. Exporters give up after ten seconds.
const PATIENCE: Duration = Duration::from_secs(2);

/// Stores packs of OTLP requests.
pub struct OtlpStore {
    /// Where they go.
    pub storage: Storage,
    /// Threads.
    pub work: Work,
}

impl Store for OtlpStore {
    fn store(&self, pack: Pack) -> Pin<Box<dyn Future<Output = Result<(), StoreError>> + Send>> {
        let head = Head::of(&pack);
        let Pack { raw, spans, payload, .. } = pack;
        let (storage, work) = (self.storage.clone(), self.work);
        Box::pin(async move {
            let busy = |error: AppendError| StoreError::Busy(error.to_string());
            storage.admit(&head.tenant).map_err(|error| StoreError::Refused(error.to_string()))?;
            let place = storage.room(raw.len(), PATIENCE).await.map_err(busy)?;
            let opener = storage.clone();
            let raw_bytes = raw.len() as u32;
            let decoded = work.run(move || opener.decode(Codec::Identity, raw, raw_bytes, spans)).await;
            // Each request of the pack was checked when it came.
            let decoded = decoded.map_err(|error| StoreError::Closed(error.to_string()))?;
            storage.append(place, head, payload, decoded).await.map_err(|error| match error {
                AppendError::Wal(error) => error.into(),
                AppendError::Memory { .. } => busy(error),
            })
        })
    }
}
