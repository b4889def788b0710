//! What a person sets: defaults, file, environment, flags.

use std::{net::SocketAddr, path::PathBuf};

use clap::Args;
use clew_common::{config::Bytes, telemetry};
use clew_query::exec::MAX_READ_BYTES;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// Where the write-ahead log is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum WalPlace {
    /// In the data folder.
    Disk,
    /// Beside the blocks.
    Store,
}

/// The collector's settings. Each has a default: nothing must be set to start.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Options {
    /// The folder of the store. Made if it is not there; one that another collector uses stops the start.
    pub data: PathBuf,
    /// Where agents, OTLP over gRPC and clew.v1 queries are taken. A port that is in use stops the start.
    pub grpc: SocketAddr,
    /// Where OTLP over HTTP is taken.
    pub http: SocketAddr,
    /// Where people and their tools ask: Jaeger's API over HTTP is at /, Tempo's under /tempo.
    pub web: SocketAddr,
    /// Where Tempo's API is at /.
    pub tempo: SocketAddr,
    /// Where Jaeger's API over gRPC is.
    pub jaeger: SocketAddr,
    /// Where /live, /ready, /metrics and /config are.
    pub admin: SocketAddr,
    /// Disk for the write-ahead log. Past it senders are told to retry. At least two segments.
    pub max_wal_bytes: Bytes,
    /// Size of the write-ahead log's files. At least 1 MiB.
    pub segment_bytes: Bytes,
    /// Where blocks are kept: a folder, or `s3://bucket/prefix` (access as AWS_* environment variables say). Empty: `blocks`
    /// in the data folder. One that cannot be listed stops the start.
    pub store: String,
    /// Collectors that shared the store and are gone for good, by their ids (`clew blocks --json` shows whose each block is): this
    /// one merges and deletes their blocks from now on. Two heirs of one collector would store its spans twice.
    pub heir_of: Vec<Uuid>,
    /// Where the write-ahead log is: `disk` (in the data folder) or `store` (beside the blocks, put before the ack: nothing is
    /// then kept in the data folder, and `store` has to be set).
    pub wal: WalPlace,
    /// Names the write-ahead log in the store: the same at each start, and no other collector's. The host's name, unless set.
    /// A name that another collector has in use stops the start.
    pub name: String,
    /// Seconds that a start watches whether the process that had the name last still lives, unless that one stopped in good
    /// order. Under 5, one that lives may be missed; it then stops itself within seconds.
    pub takeover_wait_s: u64,
    /// Spans become a block when they take so much memory (and have gathered for five seconds), or a quarter of max_memory_bytes. At
    /// least 1 MiB.
    pub flush_bytes: Bytes,
    /// Seconds after which spans become a block though they are few.
    pub flush_age_s: u64,
    /// Memory for spans that are in no block yet. Past it, when blocks cannot be written as fast as spans come, senders are
    /// told to retry. At least 4 MiB.
    pub max_memory_bytes: Bytes,
    /// Memory for what was read of blocks, so that it need not be read again.
    pub cache_bytes: Bytes,
    /// How much merges of blocks, and what a start leaves to be done, give way to those who take spans in, as `query_nice` has it; not any longer once more than 64 blocks of a
    /// tenant wait for a merge. No more than 19. Linux only.
    pub merge_nice: u8,
    /// Seconds that blocks are kept. 0: for ever.
    pub retention_s: u64,
    /// Bytes of blocks that are kept of each tenant: past them the oldest go. 0: no limit.
    pub retention_bytes: Bytes,
    /// Seconds for which files of blocks that were merged or have expired stay, for queries that still read them.
    pub sweep_delay_s: u64,
    /// Bytes of one request, before and after decompression. Larger ones are refused.
    pub max_request_bytes: Bytes,
    /// Memory for requests and batches that are received or wait for the disk. Past it senders are told to retry. At
    /// least two requests.
    pub max_intake_bytes: Bytes,
    /// Bytes of batches that one agent may have in flight.
    pub agent_window_bytes: Bytes,
    /// Whether requests and batches may name their tenant. False: `X-Scope-OrgID` is not looked at, and all is the tenant `default`'s.
    pub multi_tenancy: bool,
    /// Tenants that have spans here. Spans of further ones are refused. At least 1.
    pub max_tenants: usize,
    /// Connections at once, for each port. Fewer when the limit of open files is too low for them.
    pub max_connections: usize,
    /// Seconds after which a connection that says nothing is closed, and one whose request's headers are not complete.
    pub idle_timeout_s: u64,
    /// Lookups at once. Further ones are told to retry.
    pub max_lookups: usize,
    /// What a lookup may read of memory and of blocks, counted as it is in memory: a trace takes about two to three times its OTLP. One
    /// that needs more is refused; so is, for a second, one that makes all that run take more than twice as much. At least 1MiB.
    pub max_lookup_bytes: Bytes,
    /// Queries (searches, metrics, tags) that run at once. No more than there are processors, or two, run whatever is said: a
    /// query uses all of them. At least 1.
    pub max_queries: usize,
    /// Queries that may wait for two seconds until one of the others is done. Further ones are told to retry.
    pub max_waiting_queries: usize,
    /// What a query may read of blocks, counted as it is in memory; what is in the cache costs nothing. A query that needs more is
    /// refused. At least 1.
    pub max_query_bytes: Bytes,
    /// Memory for what a query in SQL keeps: groups, sorted rows, sides of joins. One that needs more is ended with an error. At least
    /// 1MiB.
    pub max_sql_memory_bytes: Bytes,
    /// Clients that follow spans as they come (`clew tail`). Further ones are told to retry. At least 1.
    pub max_tails: usize,
    /// Seconds that a query or a lookup may take. One that takes longer is ended with an error. At least 1.
    pub query_timeout_s: u64,
    /// How much queries give way to those who take spans in when there is more to do than processors: 10 leaves them a tenth, 19 next
    /// to nothing, 0 as much as anybody. Lookups give way half as much. No more than 19. Linux only.
    pub query_nice: u8,
    /// Memory for columns of blocks that queries have read, so that the next one need not read them. 0: none is kept.
    pub query_cache_bytes: Bytes,
    /// Seconds that a request's body may take to come.
    pub body_timeout_s: u64,
    /// Seconds that a stop may take.
    pub drain_timeout_s: u64,
    /// Logs and own traces.
    pub telemetry: telemetry::Options,
}

/// What is said of each option, for those who print them.
pub const SOURCE: &str = include_str!("options.rs");

impl Default for Options {
    fn default() -> Self {
        let local = |port| SocketAddr::from(([127, 0, 0, 1], port));
        Self {
            data: "clew-data/collector".into(),
            grpc: local(4327),
            http: local(4328),
            web: local(16686),
            tempo: local(3200),
            jaeger: local(16685),
            admin: local(4329),
            max_wal_bytes: Bytes(32 << 30),
            segment_bytes: Bytes(64 << 20),
            store: String::new(),
            heir_of: Vec::new(),
            wal: WalPlace::Disk,
            name: rustix::system::uname().nodename().to_string_lossy().into_owned(),
            takeover_wait_s: 5,
            flush_bytes: Bytes(24 << 20),
            flush_age_s: 300,
            max_memory_bytes: Bytes(1 << 30),
            cache_bytes: Bytes(384 << 20),
            merge_nice: 10,
            retention_s: 14 * 24 * 3600,
            retention_bytes: Bytes(0),
            sweep_delay_s: 600,
            max_request_bytes: Bytes(64 << 20),
            max_intake_bytes: Bytes(256 << 20),
            agent_window_bytes: Bytes(8 << 20),
            multi_tenancy: true,
            max_tenants: 10_000,
            max_connections: 4096,
            idle_timeout_s: 120,
            max_lookups: 256,
            max_lookup_bytes: Bytes(1 << 30),
            max_queries: 8,
            max_waiting_queries: 64,
            max_query_bytes: Bytes(MAX_READ_BYTES),
            max_sql_memory_bytes: Bytes(512 << 20),
            max_tails: 64,
            query_timeout_s: 30,
            query_nice: 10,
            query_cache_bytes: Bytes(512 << 20),
            body_timeout_s: 30,
            drain_timeout_s: 8,
            telemetry: telemetry::Options::default(),
        }
    }
}

/// The same as flags and environment variables: what is given here stands over the file.
#[derive(Clone, Debug, Default, Args, Serialize)]
#[group(skip)]
pub struct Flags {
    /// Folder of the store
    #[arg(long, value_name = "DIR", env = "CLEW_COLLECTOR_DATA")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub data: Option<PathBuf>,
    /// Where to take agents, OTLP over gRPC and queries
    #[arg(long, value_name = "ADDR", env = "CLEW_COLLECTOR_GRPC")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub grpc: Option<SocketAddr>,
    /// Where to take OTLP over HTTP
    #[arg(long, value_name = "ADDR", env = "CLEW_COLLECTOR_HTTP")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub http: Option<SocketAddr>,
    /// Where people and their tools ask
    #[arg(long, value_name = "ADDR", env = "CLEW_COLLECTOR_WEB")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub web: Option<SocketAddr>,
    /// Where to serve Tempo's API at /
    #[arg(long, value_name = "ADDR", env = "CLEW_COLLECTOR_TEMPO")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tempo: Option<SocketAddr>,
    /// Where to serve Jaeger's API over gRPC
    #[arg(long, value_name = "ADDR", env = "CLEW_COLLECTOR_JAEGER")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub jaeger: Option<SocketAddr>,
    /// Where to serve /live /ready /metrics /config
    #[arg(long, value_name = "ADDR", env = "CLEW_COLLECTOR_ADMIN")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub admin: Option<SocketAddr>,
    /// Disk for the write-ahead log, such as 32GiB
    #[arg(long, value_name = "BYTES", env = "CLEW_COLLECTOR_MAX_WAL_BYTES")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_wal_bytes: Option<Bytes>,
    /// Size of the write-ahead log's files, such as 64MiB
    #[arg(long, value_name = "BYTES", env = "CLEW_COLLECTOR_SEGMENT_BYTES")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub segment_bytes: Option<Bytes>,
    /// Where blocks are kept: a folder or s3://bucket/prefix
    #[arg(long, value_name = "PLACE", env = "CLEW_COLLECTOR_STORE")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub store: Option<String>,
    /// Where the write-ahead log is
    #[arg(long, env = "CLEW_COLLECTOR_WAL")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub wal: Option<WalPlace>,
    /// Names the write-ahead log in the store
    #[arg(long, env = "CLEW_COLLECTOR_NAME")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Seconds that a start watches whether the process that had the name last still lives
    #[arg(long, value_name = "SECONDS", env = "CLEW_COLLECTOR_TAKEOVER_WAIT_S")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub takeover_wait_s: Option<u64>,
    /// Spans become a block when they take so much memory, such as 64MiB
    #[arg(long, value_name = "BYTES", env = "CLEW_COLLECTOR_FLUSH_BYTES")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub flush_bytes: Option<Bytes>,
    /// Or when they are so old
    #[arg(long, value_name = "SECONDS", env = "CLEW_COLLECTOR_FLUSH_AGE_S")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub flush_age_s: Option<u64>,
    /// Memory for what was read of blocks, such as 256MiB
    #[arg(long, value_name = "BYTES", env = "CLEW_COLLECTOR_CACHE_BYTES")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cache_bytes: Option<Bytes>,
    /// How much merges give way to those who take spans in, from 0 to 19
    #[arg(long, value_name = "NICE", env = "CLEW_COLLECTOR_MERGE_NICE")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub merge_nice: Option<u8>,
    /// Seconds that blocks are kept; 0 for ever
    #[arg(long, value_name = "SECONDS", env = "CLEW_COLLECTOR_RETENTION_S")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retention_s: Option<u64>,
    /// Bytes of blocks that are kept of each tenant; 0 for no limit
    #[arg(long, value_name = "BYTES", env = "CLEW_COLLECTOR_RETENTION_BYTES")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retention_bytes: Option<Bytes>,
    /// Seconds until the files of merged and expired blocks go
    #[arg(long, value_name = "SECONDS", env = "CLEW_COLLECTOR_SWEEP_DELAY_S")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sweep_delay_s: Option<u64>,
    /// Memory for spans that are in no block yet, such as 1GiB
    #[arg(long, value_name = "BYTES", env = "CLEW_COLLECTOR_MAX_MEMORY_BYTES")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_memory_bytes: Option<Bytes>,
    /// Bytes of one request at most
    #[arg(long, value_name = "BYTES", env = "CLEW_COLLECTOR_MAX_REQUEST_BYTES")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_request_bytes: Option<Bytes>,
    /// Memory for requests and batches on their way to the disk
    #[arg(long, value_name = "BYTES", env = "CLEW_COLLECTOR_MAX_INTAKE_BYTES")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_intake_bytes: Option<Bytes>,
    /// Whether requests may name their tenant
    #[arg(long, value_name = "BOOL", env = "CLEW_COLLECTOR_MULTI_TENANCY")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub multi_tenancy: Option<bool>,
    /// Tenants that have spans here
    #[arg(long, value_name = "COUNT", env = "CLEW_COLLECTOR_MAX_TENANTS")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_tenants: Option<usize>,
    /// What a lookup of a trace may read
    #[arg(long, value_name = "SIZE", env = "CLEW_COLLECTOR_MAX_LOOKUP_BYTES")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_lookup_bytes: Option<Bytes>,
    /// Queries that run at once
    #[arg(long, value_name = "COUNT", env = "CLEW_COLLECTOR_MAX_QUERIES")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_queries: Option<usize>,
    /// Queries that may wait for their turn
    #[arg(long, value_name = "COUNT", env = "CLEW_COLLECTOR_MAX_WAITING_QUERIES")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_waiting_queries: Option<usize>,
    /// What a query may read of blocks
    #[arg(long, value_name = "SIZE", env = "CLEW_COLLECTOR_MAX_QUERY_BYTES")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_query_bytes: Option<Bytes>,
    /// Memory for what a query in SQL keeps, such as 512MiB
    #[arg(long, value_name = "SIZE", env = "CLEW_COLLECTOR_MAX_SQL_MEMORY_BYTES")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_sql_memory_bytes: Option<Bytes>,
    /// Clients that follow spans as they come
    #[arg(long, value_name = "COUNT", env = "CLEW_COLLECTOR_MAX_TAILS")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_tails: Option<usize>,
    /// Seconds that a query may take
    #[arg(long, value_name = "SECONDS", env = "CLEW_COLLECTOR_QUERY_TIMEOUT_S")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub query_timeout_s: Option<u64>,
    /// How much queries give way to those who take spans in, from 0 to 19
    #[arg(long, value_name = "NICE", env = "CLEW_COLLECTOR_QUERY_NICE")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub query_nice: Option<u8>,
    /// Memory for columns that queries have read, such as 512MiB
    #[arg(long, value_name = "BYTES", env = "CLEW_COLLECTOR_QUERY_CACHE_BYTES")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub query_cache_bytes: Option<Bytes>,
    /// Seconds that a stop may take
    #[arg(long, value_name = "SECONDS", env = "CLEW_COLLECTOR_DRAIN_TIMEOUT_S")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub drain_timeout_s: Option<u64>,
    /// Logs and own traces
    #[command(flatten)]
    #[serde(skip_serializing_if = "telemetry::Flags::is_empty")]
    pub telemetry: telemetry::Flags,
}
