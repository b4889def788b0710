//! Reads the write-ahead logs that collectors keep in a store.

use std::{sync::Arc, time::Duration};

use clew_common::{otlp::record::SPANS, world::World};
use uuid::Uuid;

use super::{Damage, Wal, WalRecord};
use crate::{
    decode::Decoder,
    store::Store,
    wal::{self, Peeked},
};

/// A log in a store cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("cannot read the WAL in the store: {0}")]
pub struct StoreWalError(#[from] wal::OpenError);

/// Makes sure, as far as can be told, that no collector that keeps its log in this store runs; gives how many logs there are.
/// Watches for `watch` those that were not closed in good order. Blocking.
///
/// # Errors
/// When one runs, and when the store cannot be read.
pub fn stand_still(store: &Arc<dyn Store>, world: &World, watch: Duration) -> Result<usize, StoreWalError> {
    Ok(wal::stand_still(store, world, watch)?)
}

/// Goes through the logs of all collectors that keep theirs in this store. `record` is given what can be read and the log's
/// name, `damage` what cannot. Blocking; nothing is changed.
///
/// # Errors
/// When the store cannot be read. Damage is no error.
pub fn read_store_wals(
    store: &Arc<dyn Store>,
    world: &World,
    mut record: impl FnMut(Uuid, WalRecord),
    mut damage: impl FnMut(Damage),
) -> Result<Wal, StoreWalError> {
    let mut wal = Wal::default();
    let decoder = Decoder::default();
    wal::peek(store, world, |peeked| match peeked {
        Peeked::Damaged { path, what } => damage(Damage { place: path, what }),
        Peeked::Missing { epoch, seqs } => {
            let what = format!("records from {} to {} are not there", seqs.start, seqs.end - 1);
            wal.missing.push(Damage { place: epoch, what });
        }
        Peeked::Record { source: (log, seq), kind, payload, path } => {
            wal.records += 1;
            if kind != SPANS {
                return;
            }
            match super::wal::open(&decoder, &payload) {
                Ok((head, spans)) => {
                    wal.spans += u64::from(head.spans);
                    record(log, WalRecord { seq, head, spans });
                }
                Err(error) => damage(Damage { place: path, what: format!("record {seq} cannot be used: {error}") }),
            }
        }
    })?;
    Ok(wal)
}
