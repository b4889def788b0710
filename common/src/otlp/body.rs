//! Collects a request's body within its limits of size, memory and time.

use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use http_body_util::BodyExt;
use tokio::time::{Instant, timeout_at};

use super::{
    admission::Permit,
    receiver::{Receiver, Refusal},
};

/// A refused body is read on for so long, so that a client that writes before it reads gets to see the answer.
const LINGER: Duration = Duration::from_secs(5);
/// The first share of the memory that a body takes, unless its first piece is larger.
const FIRST_BYTES: usize = 4 << 10;

/// A body that is read piece by piece.
pub(super) struct Incoming<'a> {
    receiver: &'a Receiver,
    body: Body,
    deadline: Instant,
}

/// The bytes of a message and their share of the memory.
pub(super) struct Message {
    pub(super) bytes: Bytes,
    pub(super) permit: Permit,
    /// What came with its last piece and follows it.
    pub(super) rest: Bytes,
}

impl<'a> Incoming<'a> {
    pub(super) fn new(receiver: &'a Receiver, body: Body) -> Self {
        Self { receiver, body, deadline: Instant::now() + receiver.limits.body_timeout }
    }

    /// The next piece that is not empty; None at the end.
    pub(super) async fn next(&mut self) -> Result<Option<Bytes>, Refusal> {
        loop {
            let frame = timeout_at(self.deadline, self.body.frame())
                .await
                .map_err(|_| Refusal::Slow(self.receiver.limits.body_timeout))?;
            match frame {
                None => return Ok(None),
                Some(Err(error)) => return Err(Refusal::Broken(error.to_string())),
                // Trailers are of no interest.
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) if !data.is_empty() => return Ok(Some(data)),
                    _ => {}
                },
            }
        }
    }

    /// Reads the first `N` bytes, which need no share of the memory. What came with them and follows them is given too.
    pub(super) async fn prefix<const N: usize>(&mut self) -> Result<([u8; N], Bytes), Refusal> {
        let (mut prefix, mut have) = ([0; N], 0);
        while let Some(mut piece) = self.next().await? {
            let taken = piece.split_to(piece.len().min(N - have));
            prefix[have..have + taken.len()].copy_from_slice(&taken);
            have += taken.len();
            if have == N {
                return Ok((prefix, piece));
            }
        }
        Err(ended(have, N))
    }

    /// Reads `bytes` in all, of which `start` came already, without copying when they lie in one piece. Memory is taken
    /// as they come: a sender that claims much and sends little keeps nobody out.
    pub(super) async fn message(&mut self, mut start: Bytes, bytes: usize) -> Result<Message, Refusal> {
        self.receiver.check_size(bytes)?;
        if start.len() >= bytes {
            let rest = start.split_off(bytes);
            return Ok(Message { permit: self.receiver.admit(bytes)?, bytes: start, rest });
        }
        let mut whole = Whole::new(self.receiver, bytes);
        whole.push(&start)?;
        loop {
            let Some(mut piece) = self.next().await? else { return Err(ended(whole.bytes.len(), bytes)) };
            let rest = piece.split_off(piece.len().min(bytes - whole.bytes.len()));
            whole.push(&piece)?;
            if whole.bytes.len() == bytes {
                return Ok(Message { rest, ..whole.finish() });
            }
        }
    }

    /// Reads to the end, which is expected after so many bytes.
    pub(super) async fn whole(&mut self, expected_bytes: Option<usize>) -> Result<Message, Refusal> {
        if let Some(bytes) = expected_bytes {
            return self.message(Bytes::new(), bytes).await;
        }
        let mut whole = Whole::new(self.receiver, self.receiver.limits.max_request_bytes);
        while let Some(piece) = self.next().await? {
            whole.push(&piece)?;
        }
        Ok(whole.finish())
    }

    /// Reads on and forgets, for a while, when the sender of a refused body may still be sending.
    pub(super) async fn linger(mut self, refusal: &Refusal) {
        if matches!(refusal, Refusal::Slow(_) | Refusal::Broken(_)) {
            return;
        }
        self.deadline = Instant::now() + LINGER;
        while let Ok(Some(_)) = self.next().await {}
    }
}

#[cold]
fn ended(have: usize, bytes: usize) -> Refusal {
    Refusal::Invalid(format!("the body ends after {have} of {bytes} bytes"))
}

/// A message that grows, and its share of the memory with it.
struct Whole<'a> {
    receiver: &'a Receiver,
    bytes: Vec<u8>,
    permit: Permit,
    max_bytes: usize,
}

impl<'a> Whole<'a> {
    fn new(receiver: &'a Receiver, max_bytes: usize) -> Self {
        Self { receiver, bytes: Vec::new(), permit: Permit::none(), max_bytes }
    }

    fn push(&mut self, piece: &[u8]) -> Result<(), Refusal> {
        let needed = self.bytes.len() + piece.len();
        let capacity = self.bytes.capacity();
        if needed > capacity {
            self.receiver.check_size(needed)?;
            let wanted = needed.max(2 * capacity).max(FIRST_BYTES).min(self.max_bytes.max(needed));
            self.permit.merge(self.receiver.admit(wanted - capacity)?);
            self.bytes.reserve_exact(wanted - self.bytes.len());
        }
        self.bytes.extend_from_slice(piece);
        Ok(())
    }

    fn finish(self) -> Message {
        Message { bytes: self.bytes.into(), permit: self.permit, rest: Bytes::new() }
    }
}
