//! The batch processor of one service instance: takes finished spans, hands out full requests.

use super::{
    encode::{self, varint_len},
    model::{SCOPES, Scope},
};

/// Where one span lies in the buffer.
#[derive(Debug, Clone, Copy)]
struct Queued {
    scope: Scope,
    end_ns: u64,
    offset: u32,
    length: u32,
}

/// The spans that wait in one instance.
#[derive(Debug, Default)]
pub(crate) struct Exporter {
    queued: Vec<Queued>,
    spans: Vec<u8>,
    /// When the oldest of them was queued, in the corpus' time.
    pub(crate) since_ns: u64,
}

const SCHEMA_URL: &[u8] = b"https://opentelemetry.io/schemas/1.37.0";

impl Exporter {
    /// Queues one encoded span.
    pub(crate) fn push(&mut self, scope: Scope, end_ns: u64, span: &[u8], now_ns: u64) {
        if self.queued.is_empty() {
            self.since_ns = now_ns;
        }
        let queued = Queued { scope, end_ns, offset: self.spans.len() as u32, length: span.len() as u32 };
        self.queued.push(queued);
        self.spans.extend_from_slice(span);
    }

    /// How many spans wait.
    pub(crate) fn len(&self) -> usize {
        self.queued.len()
    }

    /// Writes all that waits as one `ExportTraceServiceRequest`: the spans by scope, in the order in which they ended.
    pub(crate) fn flush(&mut self, resource: &[u8], scopes: &[Vec<u8>; SCOPES], out: &mut Vec<u8>) -> u32 {
        self.queued.sort_by_key(|queued| (queued.scope, queued.end_ns));
        let field_len = |length: usize| 1 + varint_len(length as u64) + length;
        let groups = || self.queued.chunk_by(|a, b| a.scope == b.scope);
        let scope_len = |group: &[Queued]| {
            let spans: usize = group.iter().map(|queued| field_len(queued.length as usize)).sum();
            field_len(scopes[usize::from(group[0].scope.0)].len()) + spans + field_len(SCHEMA_URL.len())
        };
        let scope_spans: usize = groups().map(|group| field_len(scope_len(group))).sum();
        let resource_spans = field_len(resource.len()) + scope_spans + field_len(SCHEMA_URL.len());

        out.reserve(field_len(resource_spans));
        encode::integer(out, 0x0a, resource_spans as u64);
        encode::bytes(out, 0x0a, resource);
        for group in groups() {
            encode::integer(out, 0x12, scope_len(group) as u64);
            encode::bytes(out, 0x0a, &scopes[usize::from(group[0].scope.0)]);
            for queued in group {
                let at = queued.offset as usize;
                encode::bytes(out, 0x12, &self.spans[at..at + queued.length as usize]);
            }
            encode::bytes(out, 0x1a, SCHEMA_URL);
        }
        encode::bytes(out, 0x1a, SCHEMA_URL);
        let spans = self.queued.len() as u32;
        self.queued.clear();
        self.spans.clear();
        spans
    }
}
