//! Reads a write-ahead log without changing its folder.

use std::{path::Path, sync::Arc};

use bytes::Bytes;
use clew_common::{
    log::{self, DamagedRange, Disk, Entry, Log, WhenFull, Work},
    otlp::record::{Head, SPANS},
};
use tokio::runtime::Builder;

use super::{Damage, Peek};
use crate::{
    columns::Spans,
    decode::{Decoder, Encoded},
};

/// Read at a time.
const READ_BYTES: usize = 4 << 20;

/// What a log holds.
#[derive(Clone, Debug, Default, serde::Serialize)]
pub struct Wal {
    /// Records that can be read.
    pub records: u64,
    /// Their spans.
    pub spans: u64,
    /// Bytes at its end that are no record: a write that was cut short, of which nobody was told that it is durable.
    pub torn_bytes: u64,
    /// In a store: records that are not there, between two objects. Those of a PUT that was cut off when its process died, and which
    /// nobody had an ack for, or of an object that was lost.
    pub missing: Vec<Damage>,
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
    let Log { reader, recovery, .. } = Log::open(Arc::new(Peek(disk)), options, Work::Inline)?;
    let mut wal = Wal { torn_bytes: recovery.torn_bytes, ..Wal::default() };
    let decoder = Decoder::default();
    let place =
        |segment: u64, offset: u64| format!("{}, byte {offset}", dir.join(format!("{segment:020}.seg")).display());
    let mut cursor = reader.cursor(reader.first_seq());
    loop {
        let entries = reader.next(&mut cursor, READ_BYTES)?;
        if entries.is_empty() {
            break;
        }
        for Entry { seq, kind, payload, position } in entries {
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
    for DamagedRange { path, offset, bytes, seqs } in reader.damage() {
        let what = match seqs.end - seqs.start {
            0 => "no record was there, but the file's header or seal".to_owned(),
            1 => format!("record {} was there: it is lost if it is in no block", seqs.start),
            _ => format!(
                "records from {} to {} may have been there: those in no block are lost",
                seqs.start,
                seqs.end - 1
            ),
        };
        let what = format!("{bytes} bytes are damaged: {what}");
        damage(Damage { place: format!("{}, byte {offset}", path.display()), what });
    }
    Ok(wal)
}

/// Opens a record's payload, or says why it cannot be used.
pub(super) fn open(decoder: &Decoder, payload: &Bytes) -> Result<(Head, Spans), String> {
    let (head, at) = Head::decode(payload).map_err(|error| error.to_string())?;
    match decoder.decode(&Encoded::of(&head, payload.slice(at..))) {
        Ok(decoded) => Ok((head, decoded.spans)),
        Err(error) => Err(error.to_string()),
    }
}
