//! Finds a trace: what waits with agents, what is in memory, what is stored, each span once.

use std::sync::Arc;

use bytes::Bytes;
use clew_common::{
    ids::{Tenant, TraceId},
    otlp::filter,
    world::World,
};
use clew_query::trace;
use clew_storage::{Storage, columns::rewrite};
use tokio::sync::Semaphore;

use crate::{
    agents::{Agents, Answers},
    metrics::LookupMetrics,
};

/// Answers lookups. Cheap to clone.
#[derive(Clone)]
pub struct Lookup {
    /// What is stored.
    pub storage: Storage,
    /// Whom to ask for more.
    pub agents: Agents,
    /// Lookups at once.
    pub places: Arc<Semaphore>,
    /// Threads.
    pub world: World,
    /// What is counted.
    pub metrics: LookupMetrics,
}

/// What was found of a trace.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Trace {
    /// OTLP TracesData; empty when nothing was found.
    pub spans: Bytes,
    /// Why spans may be missing; empty when none are.
    pub partial_reasons: Vec<String>,
}

/// Why a lookup was not made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("too many lookups at once; retry in a second")]
pub struct TooMany;

impl Lookup {
    /// Finds a trace.
    ///
    /// # Errors
    /// When too many lookups are made at once.
    #[tracing::instrument(name = "get_trace", skip_all, fields(%trace))]
    pub async fn trace(&self, tenant: &Tenant, trace: TraceId) -> Result<Trace, TooMany> {
        let _place = self.places.try_acquire().map_err(|_| TooMany)?;
        let timer = std::time::Instant::now();
        // Agents are asked first: what they then send on and forget is in the snapshot.
        let Answers { mut parts, mut partial_reasons } = self.agents.ask(tenant, &trace).await;
        let snapshot = self.storage.snapshot(tenant);
        let found = self.world.work.run(move || {
            // Only spans of the trace count, whatever an agent sends; with the bytes that they will be stored as.
            let asked = std::mem::take(&mut parts);
            for part in asked.iter().map(|part| filter::of_trace(part, trace.as_bytes())) {
                match rewrite(&part) {
                    Ok(part) => parts.push(part.into()),
                    Err(error) => partial_reasons.push(format!("an agent sent spans that cannot be read: {error}")),
                }
            }
            for part in snapshot.trace(&trace) {
                match part {
                    Ok(part) => parts.push(part),
                    Err(error) => partial_reasons.push(error.to_string()),
                }
            }
            Trace { spans: trace::merge(&parts), partial_reasons }
        });
        let found = found.await;
        self.metrics.made(timer.elapsed(), !found.spans.is_empty(), !found.partial_reasons.is_empty());
        Ok(found)
    }
}
