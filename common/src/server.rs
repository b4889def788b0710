//! One way to serve: HTTP/1.1 and HTTP/2 on one port, with limits against clients that are slow, many or hostile.

use std::{
    future::Future,
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::{conn::auto, graceful::GracefulShutdown},
    service::TowerToHyperService,
};
use prometheus_client::{
    metrics::{counter::Counter, gauge::Gauge},
    registry::Registry,
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpListener, UnixListener},
    sync::Semaphore,
    time::{Instant, Sleep},
};

use crate::shutdown::Drain;

/// Accepts connections; tests bring their own network.
pub trait Listen: Send + 'static {
    /// A connection.
    type Io: AsyncRead + AsyncWrite + Unpin + Send + 'static;

    /// The next connection.
    ///
    /// # Errors
    /// Those of the operating system; the server waits a moment and asks again.
    fn accept(&mut self) -> impl Future<Output = io::Result<Self::Io>> + Send;
}

impl Listen for TcpListener {
    type Io = tokio::net::TcpStream;

    async fn accept(&mut self) -> io::Result<Self::Io> {
        let (stream, _) = TcpListener::accept(self).await?;
        stream.set_nodelay(true)?;
        // A peer that vanished without a FIN is found out in about a minute, also on connections that only write.
        let keepalive =
            socket2::TcpKeepalive::new().with_time(Duration::from_secs(30)).with_interval(Duration::from_secs(10));
        socket2::SockRef::from(&stream).set_tcp_keepalive(&keepalive)?;
        Ok(stream)
    }
}

impl Listen for UnixListener {
    type Io = tokio::net::UnixStream;

    async fn accept(&mut self) -> io::Result<Self::Io> {
        Ok(UnixListener::accept(self).await?.0)
    }
}

/// What a server allows its clients.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Connections at once on one port. Further ones wait in the kernel's queue until one closes.
    pub max_connections: usize,
    /// Streams at once on one HTTP/2 connection.
    pub max_streams: u32,
    /// A connection that sends nothing for this long is closed. HTTP/2 pings keep a living peer from this.
    pub idle: Duration,
    /// The headers of an HTTP/1.1 request must be complete after this.
    pub headers: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_connections: 4096,
            max_streams: 256,
            idle: Duration::from_secs(120),
            headers: Duration::from_secs(10),
        }
    }
}

/// What a server counts.
#[derive(Clone, Debug, Default)]
pub struct Metrics {
    open: Gauge,
    accepted: Counter,
    accept_errors: Counter,
    timed_out: Counter,
}

impl Metrics {
    /// Registers the metrics, all servers of a process together.
    pub fn register(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        registry.register("connections_open", "Connections that are open now", metrics.open.clone());
        registry.register("connections_accepted", "Connections that were accepted", metrics.accepted.clone());
        registry.register(
            "connection_accept_errors",
            "Connections that could not be accepted, such as for want of file descriptors",
            metrics.accept_errors.clone(),
        );
        registry.register(
            "connections_timed_out",
            "Connections closed because they sent nothing",
            metrics.timed_out.clone(),
        );
        metrics
    }
}

/// Serves `router` until `drain` begins, then finishes the requests that run; cut short when `drain` hurries.
pub async fn serve<L: Listen>(mut listener: L, router: axum::Router, limits: Limits, metrics: Metrics, drain: Drain) {
    let builder = Arc::new(connection_builder(limits));
    let places = Arc::new(Semaphore::new(limits.max_connections));
    let graceful = GracefulShutdown::new();
    loop {
        let accepted = tokio::select! {
            biased;
            () = drain.begun() => break,
            accepted = accept(&mut listener, &places) => accepted,
        };
        let (io, place) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                // Out of descriptors, mostly. Accepting goes on when some come back.
                metrics.accept_errors.inc();
                tracing::warn!(%error, "cannot accept a connection; trying again");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        metrics.accepted.inc();
        metrics.open.inc();
        let (builder, metrics, service) = (builder.clone(), metrics.clone(), TowerToHyperService::new(router.clone()));
        let io = TokioIo::new(Timed::new(io, limits.idle, metrics.timed_out.clone()));
        let watcher = graceful.watcher();
        tokio::spawn(async move {
            let connection = watcher.watch(builder.serve_connection(io, service).into_owned());
            if let Err(error) = connection.await {
                tracing::debug!(error, "connection ended");
            }
            metrics.open.dec();
            drop(place);
        });
    }
    drop(listener);
    tokio::select! {
        biased;
        () = graceful.shutdown() => {}
        () = drain.hurried() => {}
    }
}

async fn accept<L: Listen>(
    listener: &mut L,
    places: &Arc<Semaphore>,
) -> io::Result<(L::Io, tokio::sync::OwnedSemaphorePermit)> {
    let place = places.clone().acquire_owned().await.map_err(io::Error::other)?;
    Ok((listener.accept().await?, place))
}

fn connection_builder(limits: Limits) -> auto::Builder<TokioExecutor> {
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(limits.headers).keep_alive(true);
    builder
        .http2()
        .timer(TokioTimer::new())
        // Requests of hundreds of kilobytes must not wait for window updates.
        .initial_stream_window_size(8 << 20)
        .initial_connection_window_size(24 << 20)
        // Larger frames cost less to take apart; a client that knows better uses them.
        .max_frame_size(1 << 20)
        .max_concurrent_streams(limits.max_streams)
        .max_header_list_size(16 << 10)
        .keep_alive_interval(Duration::from_secs(30))
        .keep_alive_timeout(Duration::from_secs(20));
    builder
}

/// A connection that errs when nothing was read for a while.
struct Timed<T> {
    io: T,
    idle: Duration,
    deadline: Pin<Box<Sleep>>,
    timed_out: Counter,
}

impl<T> Timed<T> {
    fn new(io: T, idle: Duration, timed_out: Counter) -> Self {
        Self { io, idle, deadline: Box::pin(tokio::time::sleep(idle)), timed_out }
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Timed<T> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if let Poll::Ready(result) = Pin::new(&mut this.io).poll_read(cx, buf) {
            let deadline = Instant::now() + this.idle;
            // Resetting a timer costs more than reading: once a second is precise enough.
            if deadline - this.deadline.deadline() > Duration::from_secs(1) {
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
