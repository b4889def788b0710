//! What a person sets for an agent and a collector in one process.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    path::{Path, PathBuf},
    time::Duration,
};

use clew_common::{
    config::{self, Bytes},
    telemetry,
};

use super::ports;

/// Connections at once on each port, unless a file says otherwise.
const MAX_CONNECTIONS: usize = 1_024;

/// Flags of `clew up` and `clew demo`. Names are those of the two programs, with the program in front where both have
/// them; the environment variables are the same.
#[derive(Clone, Debug, clap::Args)]
#[group(skip)]
pub(crate) struct Flags {
    /// Where the agent takes OTLP over gRPC [default: 127.0.0.1:4317]
    #[arg(long, value_name = "ADDR", env = "CLEW_AGENT_GRPC", help_heading = "Ports")]
    agent_grpc: Option<SocketAddr>,
    /// Where the agent takes OTLP over HTTP [default: 127.0.0.1:4318]
    #[arg(long, value_name = "ADDR", env = "CLEW_AGENT_HTTP", help_heading = "Ports")]
    agent_http: Option<SocketAddr>,
    /// Where the agent serves /live /ready /metrics /config [default: 127.0.0.1:4319]
    #[arg(long, value_name = "ADDR", env = "CLEW_AGENT_ADMIN", help_heading = "Ports")]
    agent_admin: Option<SocketAddr>,
    /// A unix socket where the agent takes OTLP over gRPC too
    #[arg(long, value_name = "PATH", env = "CLEW_AGENT_SOCKET", help_heading = "Ports")]
    agent_socket: Option<PathBuf>,
    /// Where the collector takes agents, OTLP over gRPC and queries [default: 127.0.0.1:4327]
    #[arg(long, value_name = "ADDR", env = "CLEW_COLLECTOR_GRPC", help_heading = "Ports")]
    collector_grpc: Option<SocketAddr>,
    /// Where the collector takes OTLP over HTTP [default: 127.0.0.1:4328]
    #[arg(long, value_name = "ADDR", env = "CLEW_COLLECTOR_HTTP", help_heading = "Ports")]
    collector_http: Option<SocketAddr>,
    /// Where the collector serves /live /ready /metrics /config [default: 127.0.0.1:4329]
    #[arg(long, value_name = "ADDR", env = "CLEW_COLLECTOR_ADMIN", help_heading = "Ports")]
    collector_admin: Option<SocketAddr>,
    /// Where people and their tools ask [default: 127.0.0.1:16686]
    #[arg(long, value_name = "ADDR", env = "CLEW_COLLECTOR_WEB", help_heading = "Ports")]
    web: Option<SocketAddr>,
    /// Where Tempo's API is at / [default: 127.0.0.1:3200]
    #[arg(long, value_name = "ADDR", env = "CLEW_COLLECTOR_TEMPO", help_heading = "Ports")]
    tempo: Option<SocketAddr>,
    /// Where Jaeger's API over gRPC is [default: 127.0.0.1:16685]
    #[arg(long, value_name = "ADDR", env = "CLEW_COLLECTOR_JAEGER", help_heading = "Ports")]
    jaeger: Option<SocketAddr>,
    /// Disk for the agent's queue, such as 8GiB
    #[arg(long, value_name = "BYTES", env = "CLEW_AGENT_MAX_QUEUE_BYTES", help_heading = "Limits")]
    max_queue_bytes: Option<Bytes>,
    /// Disk for the collector's write-ahead log, such as 32GiB
    #[arg(long, value_name = "BYTES", env = "CLEW_COLLECTOR_MAX_WAL_BYTES", help_heading = "Limits")]
    max_wal_bytes: Option<Bytes>,
    /// Memory for stored spans and their index, such as 2GiB
    #[arg(long, value_name = "BYTES", env = "CLEW_COLLECTOR_MAX_MEMORY_BYTES", help_heading = "Limits")]
    max_memory_bytes: Option<Bytes>,
    /// Seconds that a stop may take
    #[arg(long, value_name = "SECONDS", env = "CLEW_DRAIN_TIMEOUT_S", default_value_t = 8, help_heading = "Limits")]
    drain_timeout_s: u64,
    /// A TOML file with further settings of the agent, as `clew-agent --config` reads it
    #[arg(long, value_name = "FILE", env = "CLEW_AGENT_CONFIG", help_heading = "Files")]
    agent_config: Option<PathBuf>,
    /// A TOML file with further settings of the collector, as `clew-collector --config` reads it
    #[arg(long, value_name = "FILE", env = "CLEW_COLLECTOR_CONFIG", help_heading = "Files")]
    collector_config: Option<PathBuf>,
    #[command(flatten)]
    telemetry: telemetry::Flags,
}

/// What to run: checked, and with ports that were free a moment ago.
#[derive(Clone, Debug)]
pub(crate) struct Options {
    pub(crate) agent: clew_agent::options::Options,
    pub(crate) collector: clew_collector::options::Options,
    pub(crate) telemetry: telemetry::Options,
    /// From the first signal to the order to hurry.
    pub(crate) drain_timeout: Duration,
}

impl Flags {
    /// Defaults, files, environment and flags together; `log` is what is logged when nobody says so.
    ///
    /// # Errors
    /// When a file cannot be read, a setting makes no sense or a port is taken.
    pub(crate) fn options(&self, data: &Path, log: &str) -> anyhow::Result<Options> {
        let mut agent: clew_agent::options::Options = config::load(
            self.agent_config.as_deref(),
            &clew_agent::options::Flags {
                data: Some(data.join("agent")),
                grpc: self.agent_grpc,
                http: self.agent_http,
                admin: self.agent_admin,
                socket: self.agent_socket.clone(),
                max_queue_bytes: self.max_queue_bytes,
                ..Default::default()
            },
        )?;
        let mut collector: clew_collector::options::Options = config::load(
            self.collector_config.as_deref(),
            &clew_collector::options::Flags {
                data: Some(data.join("collector")),
                grpc: self.collector_grpc,
                http: self.collector_http,
                web: self.web,
                tempo: self.tempo,
                jaeger: self.jaeger,
                admin: self.collector_admin,
                max_wal_bytes: self.max_wal_bytes,
                max_memory_bytes: self.max_memory_bytes,
                ..Default::default()
            },
        )?;
        // Both take their connections from the same process's descriptors: the binaries' own limits are too many for that.
        if self.agent_config.is_none() {
            agent.max_connections = MAX_CONNECTIONS;
        }
        if self.collector_config.is_none() {
            collector.max_connections = MAX_CONNECTIONS;
        }
        ports::claim(&mut agent, &mut collector)?;
        agent.collectors = vec![format!("http://{}", reachable(collector.grpc))];
        agent.check()?;
        collector.check()?;
        Ok(Options {
            agent,
            collector,
            telemetry: self.telemetry(log),
            drain_timeout: Duration::from_secs(self.drain_timeout_s),
        })
    }

    fn telemetry(&self, log: &str) -> telemetry::Options {
        let telemetry::Flags { log: given, log_format, traces } = self.telemetry.clone();
        telemetry::Options {
            log: given.unwrap_or_else(|| log.to_owned()),
            log_format: log_format.unwrap_or(telemetry::LogFormat::Text),
            traces: traces.unwrap_or_default(),
        }
    }
}

impl Options {
    /// Where the agent takes OTLP over gRPC.
    pub(crate) fn otlp_url(&self) -> String {
        format!("http://{}", reachable(self.agent.grpc))
    }

    /// Where the collector serves Tempo's API.
    pub(crate) fn tempo_url(&self) -> String {
        format!("http://{}", reachable(self.collector.tempo))
    }

    /// Where the collector answers over gRPC.
    pub(crate) fn collector_url(&self) -> String {
        format!("http://{}", reachable(self.collector.grpc))
    }

    /// What a person types to ask this collector.
    pub(crate) fn command(&self, name: &str, what: &str) -> String {
        if self.collector.grpc == clew_collector::options::Options::default().grpc {
            return format!("clew {name} {what}");
        }
        format!("clew {name} --collector {} {what}", self.collector_url())
    }
}

/// Where this process reaches what listens on `address`: one that listens everywhere is asked on loopback.
fn reachable(address: SocketAddr) -> SocketAddr {
    let loopback = match address.ip() {
        IpAddr::V4(Ipv4Addr::UNSPECIFIED) => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(Ipv6Addr::UNSPECIFIED) => IpAddr::V6(Ipv6Addr::LOCALHOST),
        ip => ip,
    };
    SocketAddr::new(loopback, address.port())
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Cli {
        #[command(flatten)]
        flags: Flags,
    }

    fn options(flags: &[&str]) -> anyhow::Result<Options> {
        // Nothing may depend on what else runs on this machine.
        let ports =
            ["agent-grpc", "agent-http", "agent-admin", "collector-http", "collector-admin", "web", "tempo", "jaeger"]
                .map(|name| format!("--{name}=127.0.0.1:0"));
        let given = flags.iter().map(|flag| (*flag).to_owned());
        Cli::parse_from(["clew".to_owned()].into_iter().chain(ports).chain(given)).flags.options("d".as_ref(), "warn")
    }

    #[test]
    fn the_agent_sends_to_the_collector_beside_it() {
        let options = options(&["--collector-grpc=0.0.0.0:0", "--max-queue-bytes=1GiB"]).unwrap();
        let port = options.collector.grpc.port();
        assert_ne!(port, 0, "a free port is named");
        assert_eq!(options.agent.collectors, [format!("http://127.0.0.1:{port}")]);
        assert_eq!((options.agent.max_queue_bytes, options.telemetry.log.as_str()), (Bytes(1 << 30), "warn"));
        assert_eq!((options.agent.data, options.collector.data), ("d/agent".into(), "d/collector".into()));
    }

    #[test]
    fn a_taken_port_is_named_with_the_flag_that_moves_it() {
        let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = taken.local_addr().unwrap();
        let error = options(&[&format!("--collector-grpc={address}")]).unwrap_err().to_string();
        assert!(error.contains(&address.to_string()) && error.contains("--collector-grpc"), "{error}");
    }
}
