//! The truth file: what every trace of a corpus holds, so that an answer can be compared to the last bit.
//!
//! It lies beside its corpus, as `CORPUS.truth`. All integers are little-endian.
//!
//! | offset | size | what |
//! |---|---|---|
//! | 0 | 8 | magic `CLEWTRUE` |
//! | 8 | 4 | version, 1 |
//! | 12 | 4 | length of this header, 48 |
//! | 16 | 8 | seed of the corpus |
//! | 24 | 8 | traces |
//! | 32 | 8 | spans |
//! | 40 | 8 | requests of the corpus |
//!
//! Then a record for each trace: `16 bytes trace id | u32 spans | u64 digest`, and for each of its spans `8 bytes span id |
//! u64 digest | u32 index of the request that carries it`. The digest of a span is that of [`super::digest`]; the
//! digest of a trace is the wrapping sum of those of its spans, so that the order of the spans makes no difference.

use std::{
    collections::HashMap,
    fs::File,
    io::{BufReader, BufWriter, Read, Seek, SeekFrom, Write},
    ops::Range,
    path::{Path, PathBuf},
};

use super::{corpus::FileError, digest::SpanDigest};

const MAGIC: [u8; 8] = *b"CLEWTRUE";
const VERSION: u32 = 1;
const HEADER_BYTES: usize = 48;

/// The truth file of a corpus.
pub(crate) fn path_of(corpus: &Path) -> PathBuf {
    let mut path = corpus.as_os_str().to_owned();
    path.push(".truth");
    path.into()
}

/// One span of a trace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TrueSpan {
    pub(crate) span_id: [u8; 8],
    pub(crate) digest: u64,
    /// Index of the request that carries the span.
    pub(crate) request: u32,
}

/// Writes the truth, holding in memory only the traces of which some spans have not been seen yet.
#[derive(Debug)]
pub(crate) struct Writer {
    file: BufWriter<File>,
    path: PathBuf,
    open: HashMap<[u8; 16], OpenTrace>,
    traces: u64,
    spans: u64,
}

#[derive(Debug)]
struct OpenTrace {
    spans: Vec<TrueSpan>,
    expected: usize,
}

impl Writer {
    /// Creates the file, or empties it.
    pub(crate) fn create(path: &Path) -> Result<Self, FileError> {
        let file = File::create(path).map_err(FileError::io(path))?;
        let mut file = BufWriter::with_capacity(1 << 18, file);
        file.write_all(&[0; HEADER_BYTES]).map_err(FileError::io(path))?;
        Ok(Self { file, path: path.to_owned(), open: HashMap::new(), traces: 0, spans: 0 })
    }

    /// Announces a trace and how many spans it will have.
    pub(crate) fn begin(&mut self, trace_id: [u8; 16], spans: u32) {
        let expected = spans as usize;
        self.open.insert(trace_id, OpenTrace { spans: Vec::with_capacity(expected), expected });
    }

    /// Takes one span of an announced trace; writes the trace when that was its last one.
    pub(crate) fn add(&mut self, span: SpanDigest, request: u32) -> Result<(), FileError> {
        let Some(open) = self.open.get_mut(&span.trace_id) else { return Ok(()) };
        open.spans.push(TrueSpan { span_id: span.span_id, digest: span.digest, request });
        if open.spans.len() < open.expected {
            return Ok(());
        }
        let Some(trace) = self.open.remove(&span.trace_id) else { return Ok(()) };
        self.traces += 1;
        self.spans += trace.spans.len() as u64;
        let digest = trace.spans.iter().fold(0u64, |sum, span| sum.wrapping_add(span.digest));
        let mut record = Vec::with_capacity(28 + 20 * trace.spans.len());
        record.extend_from_slice(&span.trace_id);
        record.extend_from_slice(&(trace.spans.len() as u32).to_le_bytes());
        record.extend_from_slice(&digest.to_le_bytes());
        for span in &trace.spans {
            record.extend_from_slice(&span.span_id);
            record.extend_from_slice(&span.digest.to_le_bytes());
            record.extend_from_slice(&span.request.to_le_bytes());
        }
        self.file.write_all(&record).map_err(FileError::io(&self.path))
    }

    /// Writes the header.
    pub(crate) fn finish(mut self, seed: u64, requests: u64) -> Result<(), FileError> {
        let mut header = Vec::with_capacity(HEADER_BYTES);
        header.extend_from_slice(&MAGIC);
        header.extend_from_slice(&VERSION.to_le_bytes());
        header.extend_from_slice(&(HEADER_BYTES as u32).to_le_bytes());
        for word in [seed, self.traces, self.spans, requests] {
            header.extend_from_slice(&word.to_le_bytes());
        }
        self.file
            .seek(SeekFrom::Start(0))
            .and_then(|_| self.file.write_all(&header))
            .and_then(|()| self.file.flush())
            .map_err(FileError::io(&self.path))
    }
}

/// One trace of the truth.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TrueTrace {
    pub(crate) trace_id: [u8; 16],
    /// Wrapping sum of the digests of its spans.
    pub(crate) digest: u64,
    /// Where its spans are in [`Truth::spans`].
    pub(crate) spans: Range<usize>,
}

/// A truth file in memory: 20 bytes a span and 40 a trace.
#[derive(Debug, Default)]
pub(crate) struct Truth {
    pub(crate) traces: Vec<TrueTrace>,
    pub(crate) spans: Vec<TrueSpan>,
    /// How many requests the corpus has.
    pub(crate) requests: u64,
}

impl Truth {
    /// Reads a truth file.
    pub(crate) fn read(path: &Path) -> Result<Self, FileError> {
        let mut file = BufReader::with_capacity(1 << 18, File::open(path).map_err(FileError::io(path))?);
        let foreign = || FileError::Foreign { path: path.to_owned(), what: "the truth of a corpus" };
        let damaged = |offset| FileError::Damaged { path: path.to_owned(), offset, reason: "the file ends too early" };
        let header: [u8; HEADER_BYTES] = take(&mut file).ok_or_else(foreign)?;
        if header[..8] != MAGIC {
            return Err(foreign());
        }
        let version = u32::from_le_bytes([header[8], header[9], header[10], header[11]]);
        if version != VERSION {
            return Err(FileError::Version { path: path.to_owned(), version, known: VERSION });
        }
        let word = |at: usize| header[at..at + 8].iter().rev().fold(0u64, |n, b| n << 8 | u64::from(*b));
        let mut truth = Self { requests: word(40), ..Self::default() };
        let mut offset = HEADER_BYTES as u64;
        for _ in 0..word(24) {
            let trace_id = take(&mut file).ok_or_else(|| damaged(offset))?;
            let spans = take(&mut file).map(u32::from_le_bytes).ok_or_else(|| damaged(offset))?;
            let digest = take(&mut file).map(u64::from_le_bytes).ok_or_else(|| damaged(offset))?;
            let first = truth.spans.len();
            for _ in 0..spans {
                truth.spans.push(TrueSpan {
                    span_id: take(&mut file).ok_or_else(|| damaged(offset))?,
                    digest: take(&mut file).map(u64::from_le_bytes).ok_or_else(|| damaged(offset))?,
                    request: take(&mut file).map(u32::from_le_bytes).ok_or_else(|| damaged(offset))?,
                });
            }
            truth.traces.push(TrueTrace { trace_id, digest, spans: first..truth.spans.len() });
            offset += 28 + 20 * u64::from(spans);
        }
        Ok(truth)
    }
}

fn take<const N: usize>(file: &mut impl Read) -> Option<[u8; N]> {
    let mut bytes = [0; N];
    file.read_exact(&mut bytes).ok().map(|()| bytes)
}
