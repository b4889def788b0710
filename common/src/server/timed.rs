//! A connection that ends when its peer is silent for too long.

use std::{
    future::Future,
    io,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use prometheus_client::metrics::counter::Counter;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{Instant, Sleep},
};

/// The preface of HTTP/2 (RFC 9113, section 3.4). Until so many bytes have come, nobody but this watches the time.
const PREFACE_BYTES: usize = 24;

/// Errs when nothing was read for a while, or when the first bytes were not whole after that time.
pub(super) struct Timed<T> {
    io: T,
    idle: Duration,
    deadline: Pin<Box<Sleep>>,
    /// Of the preface.
    missing: usize,
    timed_out: Counter,
}

impl<T> Timed<T> {
    pub(super) fn new(io: T, idle: Duration, timed_out: Counter) -> Self {
        Self { io, idle, deadline: Box::pin(tokio::time::sleep(idle)), missing: PREFACE_BYTES, timed_out }
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Timed<T> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let before = buf.filled().len();
        if let Poll::Ready(result) = Pin::new(&mut this.io).poll_read(cx, buf) {
            this.missing = this.missing.saturating_sub(buf.filled().len() - before);
            let deadline = Instant::now() + this.idle;
            // Resetting a timer costs more than reading: once a second is precise enough.
            if this.missing == 0 && deadline - this.deadline.deadline() > this.idle.min(Duration::from_secs(1)) / 2 {
                this.deadline.as_mut().reset(deadline);
            }
            return Poll::Ready(result);
        }
        ready!(this.deadline.as_mut().poll(cx));
        this.timed_out.inc();
        Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "nothing came for too long")))
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Timed<T> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }
}
