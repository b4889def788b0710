//! Makes requests of messages: small ones are joined, large ones are split.

use clew_common::otlp::{filter, walk};

use super::error::{ReadError, What};

/// Messages are joined up to so many bytes.
pub(crate) const JOINED_BYTES: usize = 1 << 20;
/// Larger messages are split, unless they have a single span: gRPC servers take 4 MiB unless told otherwise.
pub(crate) const SPLIT_BYTES: usize = 3 << 20;
/// Of bad spans, so many are told.
const TOLD: u64 = 10;

/// Joins and splits. `send` is given requests with the number of their spans.
pub(crate) struct Batcher<S> {
    send: S,
    waiting: Vec<u8>,
    spans: u32,
    pub(crate) found: Found,
}

/// What was found in messages.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Found {
    /// Good ones.
    pub(crate) spans: u64,
    /// Which nobody would take.
    pub(crate) bad_spans: u64,
    /// Messages without any span: of metrics or logs, or of something else.
    pub(crate) empty: u64,
}

impl<S: FnMut(Vec<u8>, u32) -> Result<(), ReadError>> Batcher<S> {
    /// Nothing waits.
    pub(crate) fn new(send: S) -> Self {
        Self { send, waiting: Vec::new(), spans: 0, found: Found::default() }
    }

    /// Takes a message. Bad spans in it are left out, told and counted. `guessed`: nobody said that it is one.
    ///
    /// # Errors
    /// When it is none, and those of `send`.
    pub(crate) fn add(&mut self, message: &[u8], place: &str, guessed: bool) -> Result<(), ReadError> {
        let checked = walk::check(message, |_| ()).map_err(|error| What::Malformed { error, guessed }.at(place))?;
        if checked.spans == 0 && checked.bad.is_empty() {
            self.found.empty += 1;
            return Ok(());
        }
        for bad in &checked.bad {
            if self.found.bad_spans < TOLD {
                eprintln!("clew: {place}: a span cannot be sent: {}", bad.reason);
            }
            self.found.bad_spans += 1;
        }
        self.found.spans += u64::from(checked.spans);
        if checked.bad.is_empty() {
            self.split(message, checked.spans)
        } else {
            self.split(&filter::without(message, &checked.bad), checked.spans)
        }
    }

    fn split(&mut self, message: &[u8], spans: u32) -> Result<(), ReadError> {
        if message.len() <= SPLIT_BYTES || spans <= 1 {
            return self.join(message, spans);
        }
        let half = spans / 2;
        let mut at = 0..spans;
        let first = filter::filter(message, |_| at.next().is_some_and(|at| at < half));
        self.split(&first, half)?;
        drop(first);
        let mut at = 0..spans;
        let second = filter::filter(message, |_| at.next().is_some_and(|at| at >= half));
        self.split(&second, spans - half)
    }

    fn join(&mut self, message: &[u8], spans: u32) -> Result<(), ReadError> {
        if !self.waiting.is_empty() && self.waiting.len() + message.len() > JOINED_BYTES {
            self.finish()?;
        }
        // Two messages one after the other are one message.
        self.waiting.extend_from_slice(message);
        self.spans += spans;
        Ok(())
    }

    /// Sends what waits.
    ///
    /// # Errors
    /// Those of `send`.
    pub(crate) fn finish(&mut self) -> Result<(), ReadError> {
        match std::mem::take(&mut self.spans) {
            0 => Ok(()),
            spans => (self.send)(std::mem::take(&mut self.waiting), spans),
        }
    }
}
