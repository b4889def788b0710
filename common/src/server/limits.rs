//! What a server allows its clients.

use std::time::Duration;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Descriptors that are kept for files and for connections to others.
const KEPT_DESCRIPTORS: u64 = 512;

/// What a server allows its clients.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Connections at once on one port. Further ones wait in the kernel's queue until one closes.
    pub max_connections: usize,
    /// Streams at once on one HTTP/2 connection.
    pub max_streams: u32,
    /// A connection that sends nothing for this long is closed, and one whose request's headers are not complete after
    /// this. HTTP/2 pings keep a living peer from this.
    pub idle: Duration,
    /// Requests may name their tenant. False: what they say of it is not looked at, and all are the default one's.
    pub multi_tenancy: bool,
}

impl Default for Limits {
    fn default() -> Self {
        Self { max_connections: 4096, max_streams: 256, idle: Duration::from_secs(120), multi_tenancy: true }
    }
}

impl Limits {
    /// The same, but with no more connections than `ports` such ports can have open together. For that, the process gets
    /// as many descriptors as the system allows it, and connections never take those that files need.
    #[must_use]
    pub fn within_descriptors(self, ports: usize) -> Self {
        let Some(descriptors) = raise_descriptors() else { return self };
        let for_connections = descriptors - KEPT_DESCRIPTORS.min(descriptors / 2);
        let fitting = usize::try_from(for_connections).unwrap_or(usize::MAX) / ports.max(1);
        if fitting < self.max_connections {
            tracing::info!(
                descriptors,
                max_connections = fitting,
                "the limit of open files (ulimit -n) allows fewer connections a port than configured"
            );
        }
        Self { max_connections: self.max_connections.min(fitting.max(1)), ..self }
    }
}

/// Raises the limit of open descriptors as far as the system lets it; how many there may be, None without a limit.
fn raise_descriptors() -> Option<u64> {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    match setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }) {
        Ok(()) => maximum,
        Err(error) => {
            tracing::debug!(%error, "cannot raise the limit of open files");
            current
        }
    }
}
