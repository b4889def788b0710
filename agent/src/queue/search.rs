//! Finds the spans of one trace among those that wait.

use std::{io, time::Duration};

use bytes::Bytes;
use clew_common::{
    ids::{Tenant, TraceId},
    log::{Cursor, Entry, Position, Reader},
    otlp::{
        filter,
        record::{Codec, Head, SPANS},
    },
};

use super::Queue;

/// A search gives up after this; the collector waits a little longer.
pub const SEARCH_DEADLINE: Duration = Duration::from_millis(150);

/// Enough of a record for nearly every head.
const START_BYTES: usize = 4096;

/// The heads of the records from a sequence number on. Blocking.
pub(super) struct Heads {
    reader: Reader,
    cursor: Cursor,
}

impl Heads {
    pub(super) fn new(reader: Reader, from_seq: u64) -> Self {
        Self { cursor: reader.cursor(from_seq), reader }
    }

    /// The next head of a span record; None at the end. What cannot be read is passed over: the log counts it.
    pub(super) fn next(&mut self) -> Option<(u64, Head, Position)> {
        loop {
            let start = self.reader.next_start(&mut self.cursor, START_BYTES).ok()??;
            if start.kind != SPANS {
                continue;
            }
            let cut_short = Head::bytes(&start.start).is_some_and(|bytes| bytes > start.start.len());
            let payload = if cut_short {
                self.reader.load(start.position).map(|entry| entry.payload).unwrap_or_default()
            } else {
                start.start
            };
            match Head::decode(&payload) {
                Ok((head, _)) => return Some((start.seq, head, start.position)),
                Err(error) => tracing::warn!(%error, seq = start.seq, "a queued batch has an unreadable head"),
            }
        }
    }
}

/// What was found.
#[derive(Debug, Default)]
pub struct Hits {
    /// Each an ExportTraceServiceRequest with spans of the trace.
    pub parts: Vec<Bytes>,
    /// Time ran out before the whole queue was seen.
    pub partial: bool,
}

impl Queue {
    /// Looks for a trace among the spans that wait. `late` says when time is up. Blocking.
    pub fn search(&self, tenant: &Tenant, trace: &TraceId, late: impl Fn() -> bool) -> Hits {
        let durable = self.durable();
        let mut hits = Hits::default();
        let mut heads = Heads::new(self.reader.clone(), durable.upto());
        while let Some((seq, head, position)) = heads.next() {
            if late() {
                hits.partial = true;
                break;
            }
            if durable.contains(seq) || head.tenant != *tenant || !head.may_hold(trace) {
                continue;
            }
            match self.reader.load(position).map_err(io::Error::other).and_then(|entry| raw_spans(&entry)) {
                Ok(raw) => {
                    let spans = filter::of_trace(&raw, trace.as_bytes());
                    if !spans.is_empty() {
                        hits.parts.push(spans.into());
                    }
                }
                // It may just have been freed: then the collector has it.
                Err(error) => tracing::debug!(%error, seq, "a batch could not be searched"),
            }
        }
        hits
    }
}

/// The decompressed spans of a record.
fn raw_spans(entry: &Entry) -> io::Result<Bytes> {
    let (head, spans_at) = Head::decode(&entry.payload).map_err(io::Error::other)?;
    let body = entry.payload.slice(spans_at..);
    match head.codec {
        Codec::Identity => Ok(body),
        Codec::Zstd => zstd::bulk::decompress(&body, head.raw_bytes as usize).map(Bytes::from),
    }
}
