//! Collects a request's body within its limits of size, memory and time.

use std::time::Duration;

use axum::body::Body;
use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;
use tokio::time::{Instant, timeout_at};

use super::{
    admission::Permit,
    receiver::{Receiver, Refusal},
};

/// A refused body is read on for so long, so that a client that writes before it reads gets to see the answer.
const LINGER: Duration = Duration::from_secs(5);

/// A body that is read piece by piece.
pub(super) struct Incoming<'a> {
    receiver: &'a Receiver,
    body: Body,
    deadline: Instant,
}

impl<'a> Incoming<'a> {
    pub(super) fn new(receiver: &'a Receiver, body: Body) -> Self {
        Self { receiver, body, deadline: Instant::now() + receiver.limits.body_timeout }
    }

    /// The next piece; None at the end.
    pub(super) async fn next(&mut self) -> Result<Option<Bytes>, Refusal> {
        loop {
            let frame = timeout_at(self.deadline, self.body.frame())
                .await
                .map_err(|_| Refusal::Slow(self.receiver.limits.body_timeout))?;
            match frame {
                None => return Ok(None),
                Some(Err(error)) => return Err(Refusal::Broken(error.to_string())),
                // Trailers are of no interest.
                Some(Ok(frame)) => {
                    if let Ok(data) = frame.into_data() {
                        return Ok(Some(data));
                    }
                }
            }
        }
    }

    /// Reads exactly `bytes` more after those of `start`, without copying when they lie in one piece. What follows them
    /// is given back too.
    pub(super) async fn exactly(&mut self, start: Bytes, bytes: usize) -> Result<(Bytes, Bytes), Refusal> {
        if start.len() >= bytes {
            let mut taken = start;
            let rest = taken.split_off(bytes);
            return Ok((taken, rest));
        }
        let mut whole = BytesMut::with_capacity(bytes);
        whole.extend_from_slice(&start);
        loop {
            let Some(mut piece) = self.next().await? else {
                return Err(Refusal::Invalid(format!("the body ends after {} of {bytes} bytes", whole.len())));
            };
            let rest = piece.split_off(piece.len().min(bytes - whole.len()));
            whole.extend_from_slice(&piece);
            if whole.len() == bytes {
                return Ok((whole.freeze(), rest));
            }
        }
    }

    /// Reads to the end, taking memory as it grows.
    pub(super) async fn to_end(&mut self, expected_bytes: Option<usize>) -> Result<(Bytes, Permit), Refusal> {
        if let Some(bytes) = expected_bytes {
            let permit = self.receiver.admit(bytes)?;
            return Ok((self.exactly(Bytes::new(), bytes).await?.0, permit));
        }
        let (mut whole, mut permit, mut admitted) = (BytesMut::new(), Permit::none(), 0);
        while let Some(piece) = self.next().await? {
            whole.extend_from_slice(&piece);
            if whole.len() > self.receiver.limits.max_request_bytes {
                self.receiver.admit(whole.len())?;
            }
            if whole.capacity() > admitted {
                permit.merge(self.receiver.admit(whole.capacity() - admitted)?);
                admitted = whole.capacity();
            }
        }
        Ok((whole.freeze(), permit))
    }

    /// Reads on and forgets, for a while.
    pub(super) async fn linger(mut self) {
        self.deadline = Instant::now() + LINGER;
        while let Ok(Some(_)) = self.next().await {}
    }
}
