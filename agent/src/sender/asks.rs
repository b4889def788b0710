//! Answers a collector's questions from the queue, one after the other, beside the stream.

use bytes::Bytes;
use clew_common::{
    ids::{Tenant, TraceId},
    world::World,
};
use clew_proto::v1::{AgentMessage, Ask, Found, agent_message};
use tokio::{sync::mpsc, time::Instant};
use tokio_util::task::AbortOnDropHandle;

use crate::{
    metrics::SenderMetrics,
    queue::{Hits, Queue, SEARCH_DEADLINE},
};

/// Questions that wait; more than these are dropped, and the collector marks its answers as partial.
const WAITING: usize = 64;

/// Takes questions; stops answering when it is dropped.
pub struct Asks {
    questions: mpsc::Sender<(Ask, Instant)>,
    _task: AbortOnDropHandle<()>,
}

impl Asks {
    /// Starts to answer into `outbox`.
    pub fn start(queue: Queue, world: World, outbox: mpsc::Sender<AgentMessage>, metrics: SenderMetrics) -> Self {
        let (questions, mut asked) = mpsc::channel::<(Ask, Instant)>(WAITING);
        let answering = async move {
            while let Some((ask, deadline)) = asked.recv().await {
                let ask_id = ask.ask_id;
                let hits = match (TraceId::from_slice(&ask.trace_id), Tenant::from_field(&ask.tenant)) {
                    (Some(trace), Ok(tenant)) => search(&queue, &world, tenant, trace, deadline).await,
                    _ => Hits::default(),
                };
                metrics.asked.inc();
                let last = Found { ask_id, payload: Bytes::new(), last: true, partial: hits.partial };
                let parts =
                    hits.parts.into_iter().map(|payload| Found { ask_id, payload, last: false, partial: false });
                for found in parts.chain([last]) {
                    let message = AgentMessage { kind: Some(agent_message::Kind::Found(found)) };
                    if outbox.send(message).await.is_err() {
                        return;
                    }
                }
            }
        };
        Self { questions, _task: AbortOnDropHandle::new(tokio::spawn(answering)) }
    }

    /// Takes a question.
    pub fn ask(&self, ask: Ask) {
        if self.questions.try_send((ask, Instant::now() + SEARCH_DEADLINE)).is_err() {
            tracing::debug!("too many lookups at once: one was not answered");
        }
    }
}

#[tracing::instrument(skip_all, fields(%trace))]
async fn search(queue: &Queue, world: &World, tenant: Tenant, trace: TraceId, deadline: Instant) -> Hits {
    let queue = queue.clone();
    world.work.run(move || queue.search(&tenant, &trace, || Instant::now() > deadline)).await
}
