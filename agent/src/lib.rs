//! The agent: takes the spans of one node's services, makes them durable and sends them on.
//!
//! Data flows: ports (`clew_common::otlp`) -> `queue` -> `sender` -> a collector.

mod metrics;
pub mod options;
mod queue;
mod sender;

use std::{path::Path, sync::Arc, time::Duration};

use axum::Router;
use clew_common::{
    admin::{self, Admin},
    log::Appender,
    log_metrics::LogMetrics,
    otlp::{
        admission::Admission,
        grpc, http,
        pack::Packer,
        receiver::{self, Receiver},
    },
    server::{self, Listen},
    shutdown::{self, Drain},
    world::World,
};
use clew_proto::v1::{Codec, Hello};
use futures_util::future::BoxFuture;
use prometheus_client::registry::Registry;
use tokio::{net::TcpListener, sync::watch, task::JoinSet};
use tonic::transport::Endpoint;

use crate::{
    metrics::Metrics,
    options::Options,
    queue::{Opened, Queue},
    sender::Sender,
};

pub use sender::{Connect, connect_over_tcp};

/// How many ports there are, the unix socket among them.
const PORTS: usize = 4;

/// Why an agent does not start, or stops.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A setting makes no sense.
    #[error("{0}")]
    Options(String),
    /// The queue cannot be opened.
    #[error(transparent)]
    Queue(#[from] queue::OpenError),
    /// A port or socket cannot be had.
    #[error("cannot listen on {address}: {source}")]
    Listen {
        /// Which.
        address: String,
        /// Why.
        source: std::io::Error,
    },
    /// The disk under the queue failed.
    #[error("the queue's disk failed: {0}. Nothing acked is lost; fix the disk and start again")]
    Disk(String),
}

/// An agent that is open, but does not serve yet.
pub struct Agent {
    options: Options,
    metrics: Metrics,
    registry: Registry,
    receiver: Receiver,
    packed: BoxFuture<'static, ()>,
    queue: Queue,
    sender: Sender,
}

impl Options {
    /// Checks what can be checked without touching anything.
    ///
    /// # Errors
    /// Names the setting, what is wrong with it and what would be right.
    pub fn check(&self) -> Result<(), Error> {
        let rule = |holds: bool, text: &str| if holds { Ok(()) } else { Err(Error::Options(text.to_owned())) };
        rule(!self.collectors.is_empty(), "collectors is empty: name at least one, such as http://127.0.0.1:4327")?;
        for url in &self.collectors {
            sender::endpoint(url).map_err(Error::Options)?;
        }
        rule(!self.data.is_file(), "data is a file: it has to be a folder")?;
        server::distinct(&[("grpc", self.grpc), ("http", self.http), ("admin", self.admin)]).map_err(Error::Options)?;
        rule(self.segment_bytes.0 >= 1 << 20, "segment_bytes is under 1MiB")?;
        rule(self.segment_bytes.0 <= 1 << 30, "segment_bytes is over 1GiB")?;
        rule(self.max_queue_bytes.0 >= 2 * self.segment_bytes.0, "max_queue_bytes is under two times segment_bytes")?;
        rule(self.max_request_bytes.0 >= 1 << 10, "max_request_bytes is under 1KiB")?;
        rule(self.max_request_bytes.0 <= 1 << 30, "max_request_bytes is over 1GiB")?;
        rule(self.max_memory_bytes.0 >= self.max_request_bytes.0, "max_memory_bytes is under max_request_bytes")?;
        rule(self.idle_timeout_s > 0, "idle_timeout_s is 0")?;
        rule(self.max_connections > 0, "max_connections is 0")?;
        rule(self.node.len() <= 255 && self.cluster.len() <= 255, "node or cluster has more than 255 bytes")
    }

    fn limits(&self) -> server::Limits {
        server::Limits {
            max_connections: self.max_connections,
            idle: Duration::from_secs(self.idle_timeout_s),
            multi_tenancy: self.multi_tenancy,
            ..server::Limits::default()
        }
    }
}

impl Agent {
    /// Opens the queue and gets everything ready to serve.
    ///
    /// # Errors
    /// When a setting makes no sense or the queue cannot be opened.
    pub fn open(options: Options, world: World, connect: Connect) -> Result<Self, Error> {
        options.check()?;
        let mut registry = Registry::default();
        let metrics = Metrics::register(&mut registry);
        let Opened { queue, salt, known } = Queue::open(&options, world.clone(), metrics.queue.clone())?;
        registry.register_collector(Box::new(LogMetrics::new("clew_agent_queue_", queue.appender().stats())));
        let (packer, packed) = Packer::start(Arc::new(queue.clone()), world.clone(), salt, known, metrics.pack.clone());
        let receiver = Receiver::new(
            packer,
            Admission::new(options.max_memory_bytes.0 as usize),
            receiver::Limits {
                max_request_bytes: options.max_request_bytes.0 as usize,
                body_timeout: Duration::from_secs(options.body_timeout_s),
            },
            world.work,
            metrics.receiver.clone(),
        );
        let collectors: Vec<Endpoint> = options
            .collectors
            .iter()
            .map(|url| sender::endpoint(url))
            .collect::<Result<_, _>>()
            .map_err(Error::Options)?;
        let sender = Sender {
            queue: queue.clone(),
            collectors,
            hello: Hello {
                agent_id: bytes::Bytes::new(),
                node: if options.node.is_empty() { host_name() } else { options.node.clone() },
                cluster: options.cluster.clone(),
                first_seq: 0,
                codecs: vec![Codec::Zstd as i32],
                via: Vec::new(),
            },
            connect,
            come_back: Duration::from_secs(options.come_back_s),
            world,
            metrics: metrics.clone(),
        };
        Ok(Self { options, metrics, registry, receiver, packed: Box::pin(packed), queue, sender })
    }

    /// What the OTLP ports serve: gRPC and HTTP alike.
    pub fn otlp_router(&self) -> Router {
        grpc::router(self.receiver.clone()).merge(http::router(self.receiver.clone()))
    }

    /// Serves on the ports of the options until `drain` begins, then sends what is queued, within `drain`'s time.
    /// `ready` is called once everything serves.
    ///
    /// # Errors
    /// When a port cannot be had or the queue's disk fails.
    pub async fn run(self, drain: Drain, ready: impl FnOnce()) -> Result<(), Error> {
        let grpc = listen(self.options.grpc).await?;
        let http = listen(self.options.http).await?;
        let admin_port = listen(self.options.admin).await?;
        let socket = self.options.socket.as_deref().map(listen_on_socket).transpose()?;

        let (unready, unready_seen) = watch::channel(None);
        let (grpc_otlp, http_otlp, socket_otlp) = (self.otlp_router(), self.otlp_router(), self.otlp_router());
        let registry = Arc::new(self.registry);
        let config = toml::to_string(&self.options).map_err(|error| Error::Options(error.to_string()))?;
        let admin = admin::router(Admin { registry, config, unready: unready_seen });
        let limits = self.options.limits().within_descriptors(PORTS);
        let (admin_stopper, admin_drain) = shutdown::channel();
        let admin_server =
            tokio::spawn(server::serve(admin_port, admin, limits, self.metrics.server.clone(), admin_drain));
        let mut servers =
            Servers { tasks: JoinSet::new(), limits, metrics: self.metrics.server.clone(), drain: drain.clone() };
        servers.start(grpc, grpc_otlp);
        servers.start(http, http_otlp);
        match socket {
            Some(socket) => servers.start(socket, socket_otlp),
            None => drop(socket_otlp),
        }
        // The packing thread ends with the last of its handles: only the servers may have one.
        drop(self.receiver);
        let (sender_stopper, sender_drain) = shutdown::channel();
        let sending = tokio::spawn(self.sender.run(sender_drain));
        ready();

        let appender = self.queue.appender().clone();
        let stopping = async {
            drain.begun().await;
            unready.send_replace(Some("draining".to_owned()));
            servers.tasks.join_all().await;
            // The last requests are acked now.
            self.packed.await;
            sender_stopper.drain();
            tokio::select! {
                biased;
                _ = sending => {}
                () = drain.hurried() => tracing::warn!("stopped before all was sent; the rest stays on disk for the next start"),
            }
        };
        let evictions = watch_evictions(self.queue.clone());
        let result = tokio::select! {
            biased;
            () = stopping => Ok(()),
            error = failed(&appender) => Err(error),
            () = evictions => Err(Error::Disk("its writer has ended".to_owned())),
        };
        self.queue.save_progress();
        appender.close().await;
        admin_stopper.hurry();
        let _ = admin_server.await;
        if let Some(path) = &self.options.socket {
            let _ = std::fs::remove_file(path);
        }
        result
    }

    /// The queue's sender, for those who serve by themselves.
    pub fn into_sender(self) -> Sender {
        self.sender
    }
}

struct Servers {
    tasks: JoinSet<()>,
    limits: server::Limits,
    metrics: server::Metrics,
    drain: Drain,
}

impl Servers {
    fn start(&mut self, listener: impl Listen, router: Router) {
        self.tasks.spawn(server::serve(listener, router, self.limits, self.metrics.clone(), self.drain.clone()));
    }
}

async fn watch_evictions(queue: Queue) {
    let mut evictions = queue.appender().evictions();
    while let Some(evicted) = evictions.recv().await {
        queue.evicted(&evicted);
    }
    std::future::pending().await
}

async fn failed(appender: &Appender) -> Error {
    let mut failed = appender.failed();
    let failure =
        failed.wait_for(Option::is_some).await.ok().and_then(|failure| failure.as_ref().map(ToString::to_string));
    match failure {
        Some(failure) => Error::Disk(failure),
        // The log was closed in good order.
        None => std::future::pending().await,
    }
}

async fn listen(address: std::net::SocketAddr) -> Result<TcpListener, Error> {
    TcpListener::bind(address).await.map_err(|source| Error::Listen { address: address.to_string(), source })
}

fn listen_on_socket(path: &Path) -> Result<tokio::net::UnixListener, Error> {
    let failed = |source| Error::Listen { address: path.display().to_string(), source };
    // A socket file outlives its process. When nobody answers, it is stale.
    if path.exists() && std::os::unix::net::UnixStream::connect(path).is_err() {
        std::fs::remove_file(path).map_err(failed)?;
    }
    tokio::net::UnixListener::bind(path).map_err(failed)
}

fn host_name() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}
