//! Reads a write-ahead log without changing its folder.

use std::{
    path::Path,
    sync::{Arc, atomic::Ordering::Relaxed},
};

use bytes::Bytes;
use clew_common::{
    log::{self, Disk, Entry, Log, WhenFull, Work},
    otlp::record::{Head, SPANS},
};
use tokio::runtime::Builder;

use super::{Damage, Peek};
use crate::{columns::Spans, decode::Decoder};

/// Read at a time.
const READ_BYTES: usize = 4 << 20;
/// What a record's head and its checksum take before its payload in a file: see `docs/formats.md`.
const HEAD_BYTES: u64 = 17;

/// What a log holds.
#[derive(Clone, Debug, Default, serde::Serialize)]
pub struct Wal {
    /// Records that can be read.
    pub records: u64,
    /// Their spans.
    pub spans: u64,
    /// Bytes at its end that are no record: a write that was cut short, of which nobody was told that it is durable.
    pub torn_bytes: u64,
}

/// A record with spans.
pub struct WalRecord {
    /// Its number.
    pub seq: u64,
    /// What it says of them.
    pub head: Head,
    /// The spans.
    pub spans: Spans,
}

/// The log cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum WalError {
    /// It cannot be opened.
    #[error("cannot open the WAL: {0}")]
    Open(#[from] log::OpenError),
    /// It can no longer be read.
    #[error("cannot read the WAL: {0}")]
    Read(#[from] log::ReadError),
    /// There is no runtime for it.
    #[error("cannot read the WAL: {0}")]
    Runtime(std::io::Error),
}

/// Goes through the log in `dir`: every checksum, every head, every batch. `record` is given what can be read, `damage` what
/// cannot. Blocking; not to be called from asynchronous code.
///
/// # Errors
/// When the log cannot be read at all. Damage is no error.
pub fn read_wal(
    disk: Arc<dyn Disk>,
    dir: &Path,
    mut record: impl FnMut(WalRecord),
    mut damage: impl FnMut(Damage),
) -> Result<Wal, WalError> {
    let runtime = Builder::new_current_thread().build().map_err(WalError::Runtime)?;
    let _context = runtime.enter();
    let options = log::Options {
        max_record_bytes: 1 << 30,
        when_full: WhenFull::Refuse,
        weigh: Head::weigh,
        ..log::Options::new(dir, u64::MAX)
    };
    let Log { appender, reader, recovery } = Log::open(Arc::new(Peek(disk)), options, Work::Inline)?;
    let mut wal = Wal { torn_bytes: recovery.torn_bytes, ..Wal::default() };
    let decoder = Decoder::default();
    let place =
        |segment: u64, offset: u64| format!("{}, byte {offset}", dir.join(format!("{segment:020}.seg")).display());
    let mut cursor = reader.cursor(reader.first_seq());
    let mut before: Option<(u64, log::Position)> = None;
    let mut known = 0;
    loop {
        let entries = reader.next(&mut cursor, READ_BYTES)?;
        if entries.is_empty() {
            break;
        }
        for Entry { seq, kind, payload, position } in entries {
            let end = |position: log::Position| position.offset + HEAD_BYTES + u64::from(position.len);
            if let Some((last, at)) = before.filter(|(last, _)| last + 1 != seq)
                && at.segment == position.segment
            {
                known += 1;
                let what = format!("the records from {} to {} are damaged and lost", last + 1, seq - 1);
                damage(Damage { place: place(at.segment, end(at)), what });
            }
            before = Some((seq, position));
            wal.records += 1;
            if kind != SPANS {
                continue;
            }
            match open(&decoder, &payload) {
                Ok((head, spans)) => {
                    wal.spans += u64::from(head.spans);
                    record(WalRecord { seq, head, spans });
                }
                Err(error) => damage(Damage {
                    place: place(position.segment, position.offset),
                    what: format!("record {seq} cannot be used: {error}"),
                }),
            }
        }
    }
    // What is not between two records of one file: at a file's start or end.
    let ranges = appender.stats().damaged_ranges.load(Relaxed).saturating_sub(known);
    if ranges > 0 {
        let what = format!("{ranges} damaged ranges at the start or the end of a file; records there are lost");
        damage(Damage { place: dir.display().to_string(), what });
    }
    Ok(wal)
}

/// Opens a record's payload, or says why it cannot be used.
pub(super) fn open(decoder: &Decoder, payload: &Bytes) -> Result<(Head, Spans), String> {
    let (head, at) = Head::decode(payload).map_err(|error| error.to_string())?;
    match decoder.decode(head.codec, payload.slice(at..), head.raw_bytes, head.spans) {
        Ok(decoded) => Ok((head, decoded.spans)),
        Err(error) => Err(error.to_string()),
    }
}
