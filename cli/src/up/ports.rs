//! Ports that can be had, before anything is opened.

use std::{
    io::ErrorKind,
    net::{SocketAddr, TcpListener},
};

/// A port cannot be had.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PortError {
    #[error(
        "{address} ({what}) is in use: is another `clew up` or `clew demo`, an agent or a collector running? Stop it, or choose another port, such as {flag} {ip}:{other}",
        ip = address.ip(),
        other = other(address.port())
    )]
    Taken { address: SocketAddr, what: &'static str, flag: &'static str },
    #[error("cannot listen on {address} ({what}): {source}; {flag} sets another address")]
    Failed { address: SocketAddr, what: &'static str, flag: &'static str, source: std::io::Error },
}

/// A port that is likely to be free when `port` is not.
fn other(port: u16) -> u16 {
    port.checked_add(10_000).unwrap_or(port - 10_000)
}

/// Looks whether all ports can be had, so that one that is taken stops the start before any file is touched. Port 0
/// becomes one that is free now.
///
/// # Errors
/// Names the first port that cannot be had, and its flag.
pub(super) fn claim(
    agent: &mut clew_agent::options::Options,
    collector: &mut clew_collector::options::Options,
) -> Result<(), PortError> {
    let ports = [
        (&mut agent.grpc, "OTLP over gRPC", "--agent-grpc"),
        (&mut agent.http, "OTLP over HTTP", "--agent-http"),
        (&mut agent.admin, "the agent's admin port", "--agent-admin"),
        (&mut collector.grpc, "the collector's gRPC port", "--collector-grpc"),
        (&mut collector.http, "the collector's OTLP over HTTP", "--collector-http"),
        (&mut collector.admin, "the collector's admin port", "--collector-admin"),
        (&mut collector.web, "the web port", "--web"),
        (&mut collector.tempo, "Tempo's API", "--tempo"),
        (&mut collector.jaeger, "Jaeger's API over gRPC", "--jaeger"),
    ];
    // Held until all are there: two must not get the same one.
    let mut held = Vec::with_capacity(ports.len());
    for (address, what, flag) in ports {
        let bound = TcpListener::bind(*address).and_then(|listener| Ok((listener.local_addr()?, listener)));
        let (free, listener) = bound.map_err(|source| match source.kind() {
            ErrorKind::AddrInUse => PortError::Taken { address: *address, what, flag },
            _ => PortError::Failed { address: *address, what, flag, source },
        })?;
        *address = free;
        held.push(listener);
    }
    Ok(())
}
