//! The collector: persists the spans of agents and answers every question about traces.
//!
//! Data flows: ports -> `intake` (agents) or `otlp` (plain senders) -> `clew_storage`. Questions come by `query` (gRPC) or
//! `tempo` or `jaeger` (HTTP and gRPC): those about one trace -> `lookup` -> `clew_storage` and, for what still waits there, `agents`;
//! all others -> `queries` -> `clew_query`, or, in SQL (`sql`, HTTP and Arrow Flight SQL), -> `clew_sql`.

mod agents;
mod intake;
mod jaeger;
mod lookup;
mod metrics;
pub mod options;
mod otlp;
mod queries;
mod query;
mod sql;
mod tempo;

use std::{sync::Arc, time::Duration};

use axum::Router;
use clew_common::{
    admin::{self, Admin},
    ids::Tenant,
    log_metrics::LogMetrics,
    otlp::{
        admission::Admission,
        grpc, http,
        pack::Packer,
        receiver::{self, Receiver},
    },
    server,
    shutdown::{self, Drain},
    world::World,
};
use clew_proto::{
    tempopb::streaming_querier_server,
    v1::{
        intake_server::{self, IntakeServer},
        query_server::{self, QueryServer},
    },
};
use clew_query::exec::Cache;
use clew_storage::{
    MaintainError, Opened, Storage,
    block::Layout,
    retention,
    store::{self, Store},
    wal::{self, Wal},
};
use futures_util::future::BoxFuture;
use prometheus_client::registry::Registry;
use tokio::{
    net::TcpListener,
    sync::{Semaphore, watch},
    task::{JoinHandle, JoinSet},
};
use tonic::service::Routes;
use tonic_health::ServingStatus;

use crate::{
    agents::Agents,
    intake::Intake,
    jaeger::Jaeger,
    lookup::Lookup,
    metrics::{Gauges, Metrics},
    options::{Options, WalPlace},
    otlp::OtlpStore,
    queries::{Places, Queries, SqlThreads},
    query::Query,
    tempo::Tempo,
};

/// Threads for what takes spans in: decoding, flushes, and what waits for a disk; lookups, queries and merges have their own. The allocator keeps memory for
/// each: with tokio's 512 a collector of 1 GiB of spans grew to 5.4 GiB, with these to 2.1.
pub const WORKERS: usize = 16;

/// How many ports there are.
const PORTS: usize = 6;

/// Why a collector does not start, or stops.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A setting makes no sense.
    #[error("{0}")]
    Options(String),
    /// The store cannot be opened.
    #[error(transparent)]
    Storage(#[from] clew_storage::OpenError),
    /// A port cannot be had.
    #[error("cannot listen on {address}: {source}")]
    Listen {
        /// Which.
        address: std::net::SocketAddr,
        /// Why.
        source: std::io::Error,
    },
    /// Spans cannot become blocks.
    #[error("the store failed: {0}. Nothing acked is lost; fix the disk and start again")]
    Store(MaintainError),
    /// The disk under the WAL failed.
    #[error("the WAL failed: {0}. Nothing acked is lost; mend that and start again")]
    Disk(String),
}

impl Options {
    /// Checks what can be checked without touching anything.
    ///
    /// # Errors
    /// Names the setting and what is wrong with it.
    pub fn check(&self) -> Result<(), Error> {
        let rule = |holds: bool, text: &str| if holds { Ok(()) } else { Err(Error::Options(text.to_owned())) };
        rule(!self.data.is_file(), "data is a file: it has to be a folder")?;
        self.store(&World::real())?;
        server::distinct(&[
            ("grpc", self.grpc),
            ("http", self.http),
            ("web", self.web),
            ("tempo", self.tempo),
            ("jaeger", self.jaeger),
            ("admin", self.admin),
        ])
        .map_err(Error::Options)?;
        rule(self.segment_bytes.0 >= 1 << 20, "segment_bytes is under 1MiB")?;
        rule(self.segment_bytes.0 <= 1 << 30, "segment_bytes is over 1GiB")?;
        rule(self.max_wal_bytes.0 >= 2 * self.segment_bytes.0, "max_wal_bytes is under two times segment_bytes")?;
        rule(self.max_request_bytes.0 >= 1 << 10, "max_request_bytes is under 1KiB")?;
        rule(self.max_request_bytes.0 <= 1 << 30, "max_request_bytes is over 1GiB")?;
        rule(
            self.max_intake_bytes.0 >= 2 * self.max_request_bytes.0,
            "max_intake_bytes is under two times max_request_bytes",
        )?;
        if self.wal == WalPlace::Store {
            rule(
                !self.store.is_empty(),
                "wal is \"store\" and store is empty: set store (--store) to the place of the blocks, such as s3://bucket/prefix",
            )?;
            rule(
                Tenant::new(&self.name).is_ok(),
                "wal is \"store\" and name is no name: set name (--name) to 1 to 128 letters, digits, '-', '_' or '.', the same at each start and no other collector's",
            )?;
        }
        rule(self.flush_bytes.0 >= 1 << 20, "flush_bytes is under 1MiB")?;
        rule(self.flush_age_s > 0, "flush_age_s is 0")?;
        rule(self.max_memory_bytes.0 >= 4 << 20, "max_memory_bytes is under 4MiB")?;
        rule(self.agent_window_bytes.0 >= 1 << 10, "agent_window_bytes is under 1KiB")?;
        rule(self.idle_timeout_s > 0, "idle_timeout_s is 0")?;
        rule(self.max_connections > 0, "max_connections is 0")?;
        rule(self.max_tenants > 0, "max_tenants is 0")?;
        rule(self.max_lookups > 0 && self.max_lookups <= Semaphore::MAX_PERMITS, "max_lookups is 0, or too large")?;
        rule(self.max_lookup_bytes.0 >= 1 << 20, "max_lookup_bytes is under 1MiB")?;
        rule(self.max_queries > 0, "max_queries is 0")?;
        rule(self.max_tails > 0 && self.max_tails <= Semaphore::MAX_PERMITS, "max_tails is 0, or too large")?;
        rule(self.max_waiting_queries <= Semaphore::MAX_PERMITS, "max_waiting_queries is too large")?;
        rule(self.max_query_bytes.0 > 0, "max_query_bytes is 0")?;
        rule(self.max_sql_memory_bytes.0 >= 1 << 20, "max_sql_memory_bytes is under 1MiB")?;
        rule(self.query_nice <= 19, "query_nice is over 19")?;
        rule(self.merge_nice <= 19, "merge_nice is over 19")?;
        rule(self.query_timeout_s > 0, "query_timeout_s is 0")
    }

    fn limits(&self) -> server::Limits {
        server::Limits {
            max_connections: self.max_connections,
            idle: Duration::from_secs(self.idle_timeout_s),
            multi_tenancy: self.multi_tenancy,
            ..server::Limits::default()
        }
    }

    fn wal_in_store(&self) -> Option<wal::Options> {
        (self.wal == WalPlace::Store).then(|| {
            let watch = Duration::from_secs(self.takeover_wait_s);
            wal::Options { watch, ..wal::Options::new(&self.name) }
        })
    }

    fn store(&self, world: &World) -> Result<Arc<dyn Store>, Error> {
        let place =
            if self.store.is_empty() { self.data.join("blocks").display().to_string() } else { self.store.clone() };
        store::open(&place, world).map_err(|error| Error::Options(format!("store: {error}")))
    }

    /// A record is a pack of requests, compressed, with its head.
    fn max_batch_bytes(&self) -> usize {
        self.max_request_bytes.0 as usize + (16 << 20)
    }
}

/// A collector that is open, but does not serve yet.
pub struct Collector {
    options: Options,
    metrics: Metrics,
    registry: Registry,
    storage: Storage,
    receiver: Receiver,
    packed: BoxFuture<'static, ()>,
    intake: Intake,
    tempo: Tempo,
    query: Query,
}

impl Collector {
    /// Opens the store, replays its WAL and gets everything ready to serve. Blocking. `drain` ends the agents' streams.
    ///
    /// # Errors
    /// When a setting makes no sense or the store cannot be opened.
    pub fn open(options: Options, world: World, drain: Drain) -> Result<Self, Error> {
        options.check()?;
        let mut registry = Registry::default();
        let metrics = Metrics::register(&mut registry);
        let started = std::time::Instant::now();
        let Opened { storage, collector_id, salt, known, spans } = Storage::open(
            clew_storage::Options {
                data: options.data.clone(),
                wal: options.wal_in_store(),
                segment_bytes: options.segment_bytes.0,
                max_wal_bytes: options.max_wal_bytes.0,
                max_record_bytes: u32::try_from(options.max_batch_bytes() + (16 << 20)).unwrap_or(u32::MAX),
                flush_bytes: options.flush_bytes.0.min(options.max_memory_bytes.0 / 4) as usize,
                flush_age: Duration::from_secs(options.flush_age_s),
                max_memory_bytes: options.max_memory_bytes.0 as usize,
                max_tenants: options.max_tenants,
                layout: Layout::default(),
                cache_bytes: options.cache_bytes.0 as usize,
                sweep_delay: Duration::from_secs(options.sweep_delay_s),
                merge_nice: options.merge_nice,
                retention: retention::Limits {
                    max_age: (options.retention_s > 0).then(|| Duration::from_secs(options.retention_s)),
                    max_bytes: (options.retention_bytes.0 > 0).then_some(options.retention_bytes.0),
                },
                sole: options.store.is_empty(),
                heir_of: options.heir_of.clone(),
            },
            options.store(&world)?,
            world.clone(),
        )?;
        tracing::info!(spans, took_ms = started.elapsed().as_millis() as u64, collector = %collector_id, "opened the store");
        let agents = Agents::default();
        registry.register_collector(Box::new(LogMetrics::new("clew_collector_wal_", storage.wal().stats())));
        let query_cache = Cache::new(options.query_cache_bytes.0 as usize);
        registry.register_collector(Box::new(Gauges {
            storage: storage.clone(),
            agents: agents.clone(),
            query_cache: query_cache.clone(),
        }));
        let (packer, packed) = Packer::start(
            Arc::new(OtlpStore { storage: storage.clone(), work: world.work }),
            world.clone(),
            salt,
            known,
            metrics.pack.clone(),
        );
        let half = options.max_intake_bytes.0 as usize / 2;
        let receiver = Receiver::new(
            packer,
            Admission::new(half),
            receiver::Limits {
                max_request_bytes: options.max_request_bytes.0 as usize,
                body_timeout: Duration::from_secs(options.body_timeout_s),
            },
            world.work,
            metrics.receiver.clone(),
        );
        let intake = Intake {
            storage: storage.clone(),
            agents: agents.clone(),
            collector_id,
            window_bytes: options.agent_window_bytes.0,
            max_batch_bytes: options.max_batch_bytes().min(half),
            multi_tenancy: options.multi_tenancy,
            room: Intake::room(half),
            told_busy_ms: Arc::default(),
            world: world.clone(),
            metrics: metrics.intake.clone(),
            drain: drain.clone(),
        };
        let lookup = Lookup {
            storage: storage.clone(),
            agents,
            places: Arc::new(Semaphore::new(options.max_lookups)),
            threads: lookup::threads(world.work, options.query_nice),
            timeout: Duration::from_secs(options.query_timeout_s),
            max_read_bytes: options.max_lookup_bytes.0,
            room: Arc::new(lookup::Room::new(options.max_lookup_bytes.0.saturating_mul(2))),
            metrics: metrics.lookup.clone(),
        };
        let queries = Queries {
            storage: storage.clone(),
            cache: query_cache,
            places: Places::new(options.max_queries, options.max_waiting_queries),
            threads: queries::threads(world.work, Places::running(options.max_queries), options.query_nice),
            sql: SqlThreads::new(options.max_sql_memory_bytes.0 as usize, options.query_nice),
            followers: Arc::new(Semaphore::new(options.max_tails)),
            timeout: Duration::from_secs(options.query_timeout_s),
            max_read_bytes: options.max_query_bytes.0,
            world,
            metrics: metrics.query.clone(),
        };
        Ok(Self {
            options,
            metrics,
            registry,
            storage,
            receiver,
            packed: Box::pin(packed),
            intake,
            query: Query { lookup: lookup.clone(), queries: queries.clone(), drain },
            tempo: Tempo { lookup, queries },
        })
    }

    /// What the gRPC port serves.
    pub async fn grpc_router(&self) -> Router {
        // A batch may be as large as the record it lies in.
        let max_message = self.options.max_batch_bytes() + (16 << 20);
        let routes = jaeger::grpc::routes(&self.jaeger())
            .add_service(IntakeServer::new(self.intake.clone()).max_decoding_message_size(max_message))
            .add_service(QueryServer::new(self.query.clone()))
            .add_service(tempo::service(self.tempo.clone()))
            .add_service(sql::service(self.tempo.queries.clone()));
        let own = [intake_server::SERVICE_NAME, query_server::SERVICE_NAME, streaming_querier_server::SERVICE_NAME];
        let names = [&own[..], &[grpc::SERVICE_NAME], &jaeger::grpc::NAMES].concat();
        told(routes, &names).await.into_axum_router().merge(grpc::router(self.receiver.clone()))
    }

    /// What Jaeger's gRPC port serves.
    async fn jaeger_router(&self) -> Router {
        told(jaeger::grpc::routes(&self.jaeger()), &jaeger::grpc::NAMES).await.into_axum_router()
    }

    fn jaeger(&self) -> Jaeger {
        let Tempo { lookup, queries } = self.tempo.clone();
        Jaeger { lookup, queries }
    }

    /// Serves on the ports of the options until `drain` begins, then finishes what was begun. `ready` is called once
    /// everything serves.
    ///
    /// # Errors
    /// When a port cannot be had or the WAL's disk fails.
    pub async fn run(self, drain: Drain, ready: impl FnOnce()) -> Result<(), Error> {
        let options = &self.options;
        let [grpc_port, http_port, web, tempo_port, jaeger_port, admin_port] =
            listen([options.grpc, options.http, options.web, options.tempo, options.jaeger, options.admin]).await?;
        let (unready, unready_seen) = watch::channel(None);
        let config = toml::to_string(&self.options).map_err(|error| Error::Options(error.to_string()))?;
        let limits = options.limits().within_descriptors(PORTS);

        let (admin_stopper, admin_drain) = shutdown::channel();
        let (grpc_router, jaeger_router) = (self.grpc_router().await, self.jaeger_router().await);
        let jaeger = jaeger::router(self.jaeger());
        let admin = admin::router(Admin { registry: Arc::new(self.registry), config, unready: unready_seen });
        let admin_server =
            tokio::spawn(server::serve(admin_port, admin, limits, self.metrics.server.clone(), admin_drain));
        let mut servers = JoinSet::new();
        let mut serve = |listener: TcpListener, router: Router| {
            servers.spawn(server::serve(listener, router, limits, self.metrics.server.clone(), drain.clone()));
        };
        serve(grpc_port, grpc_router);
        serve(http_port, http::router(self.receiver));
        serve(jaeger_port, jaeger_router);
        let tempo = tempo::router(self.tempo.clone());
        let sql = sql::router(self.tempo.queries.clone());
        serve(web, tempo::streaming(self.tempo).nest("/tempo", tempo.clone()).merge(jaeger).merge(sql));
        serve(tempo_port, tempo);
        ready();

        let wal = self.storage.wal().clone();
        let maintained = tokio::spawn(self.storage.clone().maintain(drain.clone()));
        let stopping = async {
            drain.begun().await;
            unready.send_replace(Some("draining".to_owned()));
            servers.join_all().await;
            // A store that is away may hold what was packed back for ever.
            tokio::select! {
                biased;
                () = self.packed => {}
                () = drain.hurried() => {}
            }
        };
        let result = tokio::select! {
            biased;
            () = stopping => Ok(()),
            error = failed(&wal) => Err(error),
            error = stuck(maintained) => Err(error),
        };
        wal.close().await;
        admin_stopper.hurry();
        let _ = admin_server.await;
        result
    }
}

/// Services with those that tell of them: health and reflection.
async fn told(routes: Routes, names: &[&str]) -> Routes {
    let (reporter, health) = tonic_health::server::health_reporter();
    for name in names {
        reporter.set_service_status(name, ServingStatus::Serving).await;
    }
    let descriptors = || {
        let builder = tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(clew_proto::DESCRIPTORS)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
            .with_service_name("grpc.health.v1.Health");
        names.iter().fold(builder, |builder, name| builder.with_service_name(*name))
    };
    let routes = routes.add_service(health);
    match (descriptors().build_v1(), descriptors().build_v1alpha()) {
        (Ok(v1), Ok(v1alpha)) => routes.add_service(v1).add_service(v1alpha),
        (Err(error), _) | (_, Err(error)) => {
            tracing::error!(%error, "no reflection");
            routes
        }
    }
}

async fn failed(wal: &Wal) -> Error {
    let mut failed = wal.failed();
    let failure =
        failed.wait_for(Option::is_some).await.ok().and_then(|failure| failure.as_ref().map(ToString::to_string));
    match failure {
        Some(failure) => Error::Disk(failure),
        // The log was closed in good order.
        None => std::future::pending().await,
    }
}

/// Why the store's own work ended, unless it was told to.
async fn stuck(maintained: JoinHandle<Result<(), MaintainError>>) -> Error {
    match maintained.await {
        Ok(Ok(())) => std::future::pending().await,
        Ok(Err(error)) => Error::Store(error),
        Err(panic) => std::panic::resume_unwind(panic.into_panic()),
    }
}

async fn listen<const N: usize>(addresses: [std::net::SocketAddr; N]) -> Result<[TcpListener; N], Error> {
    let mut listeners = Vec::with_capacity(N);
    for address in addresses {
        listeners.push(TcpListener::bind(address).await.map_err(|source| Error::Listen { address, source })?);
    }
    listeners.try_into().map_err(|_| Error::Options("a port is missing".to_owned()))
}
