//! What was sent and is neither durable nor refused.

use std::collections::BTreeMap;

use clew_common::ranges::SeqRanges;
use tokio::time::Instant;

/// A batch in flight.
#[derive(Clone, Copy, Debug)]
pub struct Sent {
    /// Bytes of its record.
    pub bytes: u32,
    /// When it was sent.
    pub at: Instant,
}

/// The batches in flight on one stream.
#[derive(Debug, Default)]
pub struct Flight {
    batches: BTreeMap<u64, Sent>,
    bytes: u64,
}

impl Flight {
    /// Their bytes.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.batches.is_empty()
    }

    /// Adds a batch.
    pub fn add(&mut self, seq: u64, bytes: u32, at: Instant) {
        self.bytes += u64::from(bytes);
        if let Some(before) = self.batches.insert(seq, Sent { bytes, at }) {
            self.bytes -= u64::from(before.bytes);
        }
    }

    /// Takes one out.
    pub fn take(&mut self, seq: u64) -> Option<Sent> {
        let sent = self.batches.remove(&seq)?;
        self.bytes -= u64::from(sent.bytes);
        Some(sent)
    }

    /// Takes out all that a collector says to have.
    pub fn take_durable(&mut self, durable: &SeqRanges) -> Vec<(u64, Sent)> {
        let mut seqs: Vec<u64> = self.batches.range(..durable.upto()).map(|(seq, _)| *seq).collect();
        for range in durable.above() {
            seqs.extend(self.batches.range(range).map(|(seq, _)| *seq));
        }
        seqs.into_iter().filter_map(|seq| Some((seq, self.take(seq)?))).collect()
    }

    /// Forgets all: they will be sent again.
    pub fn clear(&mut self) {
        self.batches.clear();
        self.bytes = 0;
    }
}
