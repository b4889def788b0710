//! Reads a corpus ahead of the senders, in a thread of its own, as often as wanted.

use std::time::Duration;

use bytes::Bytes;
use clew_common::otlp::wire;
use tokio::sync::mpsc;

use super::{
    acked::Acked,
    body::{self, Compression},
};
use crate::load::{
    corpus::{self, FileError},
    wire::Malformed,
};

/// A request, ready to be sent.
#[derive(Debug)]
pub(crate) struct Item {
    /// Its place in the corpus.
    pub(crate) index: u32,
    pub(crate) spans: u32,
    /// As [`body`] lays it out.
    pub(crate) framed: Bytes,
    /// When it is to be sent, after the start; none when it is to be sent at once.
    pub(crate) due: Option<Duration>,
}

/// What to read.
#[derive(Debug)]
pub(crate) struct Plan {
    /// Number of the first loop: loop 1 has the traces of the corpus, each other one has its own.
    pub(crate) from_loop: u64,
    /// How often; none for without end.
    pub(crate) loops: Option<u64>,
    /// Spans a second; none for flat out.
    pub(crate) rate: Option<f64>,
    pub(crate) compression: Compression,
    /// Requests that are left out of the first loop.
    pub(crate) skip: Acked,
}

/// A corpus cannot be replayed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SourceError {
    #[error(transparent)]
    File(#[from] FileError),
    #[error("compressing a request: {0}")]
    Compress(std::io::Error),
    #[error("request {index} of the corpus is damaged: {error}")]
    Request { index: u32, error: Malformed },
}

/// Reads until the plan is done or nobody takes items any more.
pub(crate) fn read(mut reader: corpus::Reader, plan: &Plan, to: &mpsc::Sender<Item>) -> Result<(), SourceError> {
    let mut spans_before = 0u64;
    for done in 0.. {
        if plan.loops == Some(done) {
            break;
        }
        let round = (plan.from_loop - 1).saturating_add(done);
        reader.rewind()?;
        let mut index = 0;
        loop {
            if done == 0 && plan.skip.contains(index) && reader.skip()? {
                index += 1;
                continue;
            }
            let mut framed = body::begin();
            let Some(spans) = reader.next(&mut framed)? else { break };
            if round > 0 {
                rename_traces(body::message_mut(&mut framed), round)
                    .map_err(|error| SourceError::Request { index, error })?;
            }
            let framed = body::finish(framed, plan.compression).map_err(SourceError::Compress)?;
            let due = plan.rate.map(|rate| Duration::from_secs_f64(spans_before as f64 / rate));
            spans_before += u64::from(spans);
            if to.blocking_send(Item { index, spans, framed, due }).is_err() {
                return Ok(());
            }
            index += 1;
        }
    }
    Ok(())
}

/// Gives every trace of a request another id, in place: all of its spans alike, in all requests of this round. Without
/// this, a round would be a repetition that the endpoint may rightly suppress. Only the headers of spans are looked at
/// (the trace id is a span's first field in a corpus), so links keep pointing at traces of the first round.
fn rename_traces(request: &mut [u8], round: u64) -> Result<(), Malformed> {
    let mask = (u128::from(round).wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835)).to_be_bytes();
    let mut at = 0;
    while at < request.len() {
        let (tag, start, end) = field(request, at)?;
        let mut inner = if tag == 0x0a { start } else { end };
        while inner < end {
            let (tag, start, end) = field(request, inner)?;
            let mut span = if tag == 0x12 { start } else { end };
            while span < end {
                let (tag, start, end) = field(request, span)?;
                if tag == 0x12 {
                    let id = request.get_mut(start..end).and_then(|span| span.get_mut(..18)).ok_or(Malformed)?;
                    let [0x0a, 0x10, id @ ..] = id else { return Err(Malformed) };
                    id.iter_mut().zip(mask).for_each(|(byte, mask)| *byte ^= mask);
                }
                span = end;
            }
            inner = end;
        }
        at = end;
    }
    Ok(())
}

/// Tag, start and end of a length-delimited field. A corpus has no others above its spans.
fn field(bytes: &[u8], at: usize) -> Result<(u8, usize, usize), Malformed> {
    let (tag, mut rest) = bytes.get(at..).and_then(<[u8]>::split_first).ok_or(Malformed)?;
    let length = wire::bytes(&mut rest).ok_or(Malformed)?.len();
    let end = bytes.len() - rest.len();
    Ok((*tag, end - length, end))
}
