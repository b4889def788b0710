//! What a person sets: defaults, file, environment, flags.

use std::{net::SocketAddr, path::PathBuf};

use clap::Args;
use clew_common::{config::Bytes, telemetry};
use serde::{Deserialize, Serialize};

/// The agent's settings. Each has a default: nothing must be set to start.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Options {
    /// The folder of the queue. Made if it is not there; one that another agent uses stops the start.
    pub data: PathBuf,
    /// Where OTLP over gRPC is taken. A port that is in use stops the start.
    pub grpc: SocketAddr,
    /// Where OTLP over HTTP is taken.
    pub http: SocketAddr,
    /// Where /live, /ready, /metrics and /config are.
    pub admin: SocketAddr,
    /// A unix socket that takes OTLP over gRPC too. None: no socket. A stale socket file is replaced.
    pub socket: Option<PathBuf>,
    /// The collectors, the preferred one first: the agent sends to one, goes to the next when it fails, and comes back.
    /// A URL that cannot be read stops the start; a collector that cannot be reached is tried again for ever.
    pub collectors: Vec<String>,
    /// The node's name, for people. Empty: the host's name.
    pub node: String,
    /// The cluster's name, for people.
    pub cluster: String,
    /// Disk for the queue. Past it the oldest spans are dropped and counted. At least two segments.
    pub max_queue_bytes: Bytes,
    /// Disk for batches that a collector refused for good. Past it the oldest are dropped and counted.
    pub max_rejected_bytes: Bytes,
    /// Size of the queue's files. At least 1 MiB.
    pub segment_bytes: Bytes,
    /// Bytes of one request, before and after decompression. Larger ones are refused.
    pub max_request_bytes: Bytes,
    /// Memory for requests that are received or wait for the disk. Past it senders are told to retry. At least one request.
    pub max_memory_bytes: Bytes,
    /// Whether requests may name their tenant. False: `X-Scope-OrgID` is not looked at.
    pub multi_tenancy: bool,
    /// Connections at once, for each port. Fewer when the limit of open files is too low for them.
    pub max_connections: usize,
    /// Seconds after which a connection that says nothing is closed, and one whose request's headers are not complete.
    pub idle_timeout_s: u64,
    /// Seconds that a request's body may take to come.
    pub body_timeout_s: u64,
    /// Seconds that a stop may take to send what is queued. What is not sent then stays on disk for the next start.
    pub drain_timeout_s: u64,
    /// Seconds between looks whether a preferred collector is back.
    pub come_back_s: u64,
    /// Logs and own traces.
    pub telemetry: telemetry::Options,
}

/// What is said of each option, for those who print them.
pub const SOURCE: &str = include_str!("options.rs");

impl Default for Options {
    fn default() -> Self {
        let local = |port| SocketAddr::from(([127, 0, 0, 1], port));
        Self {
            data: "clew-data/agent".into(),
            grpc: local(4317),
            http: local(4318),
            admin: local(4319),
            socket: None,
            collectors: vec!["http://127.0.0.1:4327".to_owned()],
            node: String::new(),
            cluster: String::new(),
            max_queue_bytes: Bytes(8 << 30),
            max_rejected_bytes: Bytes(256 << 20),
            segment_bytes: Bytes(64 << 20),
            max_request_bytes: Bytes(64 << 20),
            max_memory_bytes: Bytes(128 << 20),
            multi_tenancy: true,
            max_connections: 4096,
            idle_timeout_s: 120,
            body_timeout_s: 30,
            drain_timeout_s: 8,
            come_back_s: 30,
            telemetry: telemetry::Options::default(),
        }
    }
}

/// The same as flags and environment variables: what is given here stands over the file.
#[derive(Clone, Debug, Default, Args, Serialize)]
#[group(skip)]
pub struct Flags {
    /// Folder of the queue
    #[arg(long, value_name = "DIR", env = "CLEW_AGENT_DATA")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub data: Option<PathBuf>,
    /// A collector; give it several times, the preferred one first
    #[arg(long = "collector", value_name = "URL", env = "CLEW_AGENT_COLLECTORS", value_delimiter = ',')]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub collectors: Option<Vec<String>>,
    /// Where to take OTLP over gRPC
    #[arg(long, value_name = "ADDR", env = "CLEW_AGENT_GRPC")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub grpc: Option<SocketAddr>,
    /// Where to take OTLP over HTTP
    #[arg(long, value_name = "ADDR", env = "CLEW_AGENT_HTTP")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub http: Option<SocketAddr>,
    /// Where to serve /live /ready /metrics /config
    #[arg(long, value_name = "ADDR", env = "CLEW_AGENT_ADMIN")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub admin: Option<SocketAddr>,
    /// A unix socket to take OTLP over gRPC too
    #[arg(long, value_name = "PATH", env = "CLEW_AGENT_SOCKET")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub socket: Option<PathBuf>,
    /// Name of this node
    #[arg(long, env = "CLEW_AGENT_NODE")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub node: Option<String>,
    /// Name of this cluster
    #[arg(long, env = "CLEW_AGENT_CLUSTER")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cluster: Option<String>,
    /// Disk for the queue, such as 8GiB
    #[arg(long, value_name = "BYTES", env = "CLEW_AGENT_MAX_QUEUE_BYTES")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_queue_bytes: Option<Bytes>,
    /// Size of the queue's files, such as 64MiB
    #[arg(long, value_name = "BYTES", env = "CLEW_AGENT_SEGMENT_BYTES")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub segment_bytes: Option<Bytes>,
    /// Bytes of one request at most
    #[arg(long, value_name = "BYTES", env = "CLEW_AGENT_MAX_REQUEST_BYTES")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_request_bytes: Option<Bytes>,
    /// Whether requests may name their tenant
    #[arg(long, value_name = "BOOL", env = "CLEW_AGENT_MULTI_TENANCY")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub multi_tenancy: Option<bool>,
    /// Memory for requests
    #[arg(long, value_name = "BYTES", env = "CLEW_AGENT_MAX_MEMORY_BYTES")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_memory_bytes: Option<Bytes>,
    /// Seconds between looks whether a preferred collector is back
    #[arg(long, value_name = "SECONDS", env = "CLEW_AGENT_COME_BACK_S")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub come_back_s: Option<u64>,
    /// Seconds that a stop may take
    #[arg(long, value_name = "SECONDS", env = "CLEW_AGENT_DRAIN_TIMEOUT_S")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub drain_timeout_s: Option<u64>,
    /// Logs and own traces
    #[command(flatten)]
    #[serde(skip_serializing_if = "telemetry::Flags::is_empty")]
    pub telemetry: telemetry::Flags,
}
