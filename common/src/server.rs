//! One way to serve: HTTP/1.1 and HTTP/2 on one port, with limits against clients that are slow, many or hostile.

mod limits;
#[cfg(test)]
mod tests;
mod timed;

use std::{future::Future, io, net::SocketAddr, sync::Arc, time::Duration};

use axum::{extract::Request, middleware::map_request};
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
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, UnixListener},
    sync::Semaphore,
};

use self::timed::Timed;
use crate::{ids::TENANT_HEADER, shutdown::Drain};

pub use self::limits::Limits;

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

/// Checks that no two of these listeners have the same address. Those with port 0 never have.
///
/// # Errors
/// Names two that have.
pub fn distinct(listeners: &[(&str, SocketAddr)]) -> Result<(), String> {
    for (at, (name, address)) in listeners.iter().enumerate().filter(|(_, (_, address))| address.port() != 0) {
        if let Some((other, _)) = listeners[..at].iter().find(|(_, other)| collide(other, address)) {
            return Err(format!("{other} and {name} are both at {address}: each needs a port of its own"));
        }
    }
    Ok(())
}

fn collide(one: &SocketAddr, other: &SocketAddr) -> bool {
    let everywhere = one.ip().is_unspecified() || other.ip().is_unspecified();
    one.port() == other.port() && (everywhere || one.ip() == other.ip())
}

async fn without_tenant(mut request: Request) -> Request {
    request.headers_mut().remove(TENANT_HEADER);
    request
}

/// Serves `router` until `drain` begins, then finishes the requests that run; cut short when `drain` hurries.
pub async fn serve<L: Listen>(mut listener: L, router: axum::Router, limits: Limits, metrics: Metrics, drain: Drain) {
    let router = if limits.multi_tenancy { router } else { router.layer(map_request(without_tenant)) };
    let builder = Arc::new(connection_builder(limits));
    let places = Arc::new(Semaphore::new(limits.max_connections));
    let graceful = GracefulShutdown::new();
    let mut failing = false;
    loop {
        let accepted = tokio::select! {
            biased;
            () = drain.begun() => break,
            accepted = accept(&mut listener, &places) => accepted,
        };
        let (io, place) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                metrics.accept_errors.inc();
                // Out of descriptors, mostly. Accepting goes on when some come back.
                if !of_one_connection(&error) {
                    if !std::mem::replace(&mut failing, true) {
                        tracing::warn!(%error, "cannot accept connections; trying on");
                    }
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
                continue;
            }
        };
        if std::mem::take(&mut failing) {
            tracing::info!("connections are accepted again");
        }
        metrics.accepted.inc();
        metrics.open.inc();
        let (builder, metrics, service) = (builder.clone(), metrics.clone(), TowerToHyperService::new(router.clone()));
        let io = TokioIo::new(Timed::new(io, limits.idle, metrics.timed_out.clone()));
        let (watcher, drain) = (graceful.watcher(), drain.clone());
        tokio::spawn(async move {
            let connection = watcher.watch(builder.serve_connection(io, service).into_owned());
            tokio::select! {
                biased;
                ended = connection => if let Err(error) = ended {
                    tracing::debug!(error, "connection ended");
                },
                // With it go its requests, and what they hold of the program that is to end.
                () = drain.hurried() => {}
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

/// Whether an error of accepting concerns one connection alone, which its peer has given up.
fn of_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionReset, Interrupted};
    matches!(error.kind(), ConnectionAborted | ConnectionReset | Interrupted)
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
    builder.http1().timer(TokioTimer::new()).header_read_timeout(limits.idle).keep_alive(true);
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
