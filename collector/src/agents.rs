//! The agents that are connected: what waits with them, and how to ask them for it.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use clew_common::ids::{Tenant, TraceId};
use clew_proto::v1::{Ask, CollectorMessage, Found, Status, collector_message};
use futures_util::future::join_all;
use parking_lot::Mutex;
use tokio::{
    sync::mpsc,
    time::{Instant, timeout_at},
};

/// An agent must have answered after this.
const ASK_DEADLINE: Duration = Duration::from_millis(200);
/// No answer may be larger: what an agent sends past it is dropped, and the answer is partial.
const MAX_FOUND_BYTES: usize = 256 << 20;

/// All connected agents. Cheap to clone.
#[derive(Clone, Default)]
pub struct Agents {
    connected: Arc<Mutex<BTreeMap<u64, Arc<Agent>>>>,
    next_id: Arc<AtomicU64>,
}

/// A connected agent.
pub struct Agent {
    /// For people.
    pub node: String,
    outbox: mpsc::Sender<CollectorMessage>,
    status: Mutex<Status>,
    asked: Mutex<HashMap<u64, mpsc::UnboundedSender<Found>>>,
    next_ask: AtomicU64,
}

/// An agent's place among the connected ones; it is given up when this is dropped.
pub struct Connected {
    agents: Agents,
    id: u64,
    agent: Arc<Agent>,
}

impl std::ops::Deref for Connected {
    type Target = Agent;

    fn deref(&self) -> &Agent {
        &self.agent
    }
}

impl Drop for Connected {
    fn drop(&mut self) {
        self.agents.connected.lock().remove(&self.id);
        // Whoever waits for an answer sees that none will come.
        self.agent.asked.lock().clear();
    }
}

/// What the agents had of a trace.
#[derive(Debug, Default)]
pub struct Answers {
    /// Parts of OTLP TracesData.
    pub parts: Vec<Bytes>,
    /// Why spans may be missing.
    pub partial_reasons: Vec<String>,
}

impl Agents {
    /// Adds an agent that is asked through `outbox`.
    pub fn connect(&self, node: String, outbox: mpsc::Sender<CollectorMessage>) -> Connected {
        let agent = Arc::new(Agent {
            node,
            outbox,
            status: Mutex::default(),
            asked: Mutex::default(),
            next_ask: AtomicU64::new(1),
        });
        let id = self.next_id.fetch_add(1, Ordering::Relaxed);
        self.connected.lock().insert(id, agent.clone());
        Connected { agents: self.clone(), id, agent }
    }

    /// How many are connected, and how many bytes wait with them.
    pub fn totals(&self) -> (usize, u64) {
        let connected = self.connected.lock();
        (connected.len(), connected.values().map(|agent| agent.status.lock().queue_bytes).sum())
    }

    /// Asks the agents with a backlog for the spans of a trace that wait with them.
    pub async fn ask(&self, tenant: &Tenant, trace: &TraceId) -> Answers {
        let behind: Vec<Arc<Agent>> =
            self.connected.lock().values().filter(|agent| agent.status.lock().queue_batches > 0).cloned().collect();
        let deadline = Instant::now() + ASK_DEADLINE;
        let mut answers = Answers::default();
        for (parts, reason) in join_all(behind.iter().map(|agent| agent.ask(tenant, trace, deadline))).await {
            answers.parts.extend(parts);
            answers.partial_reasons.extend(reason);
        }
        answers
    }
}

impl Agent {
    /// Takes note of what waits with the agent.
    pub fn set_status(&self, status: Status) {
        *self.status.lock() = status;
    }

    /// Passes a part of an answer to whoever asked. Nobody does any more, mostly because it came late.
    pub fn found(&self, found: Found) {
        let mut asked = self.asked.lock();
        let (ask_id, last) = (found.ask_id, found.last);
        if let Some(asker) = asked.get(&ask_id) {
            let gone = asker.send(found).is_err();
            if gone || last {
                asked.remove(&ask_id);
            }
        }
    }

    async fn ask(&self, tenant: &Tenant, trace: &TraceId, deadline: Instant) -> (Vec<Bytes>, Option<String>) {
        let ask_id = self.next_ask.fetch_add(1, Ordering::Relaxed);
        let (sender, mut found) = mpsc::unbounded_channel();
        self.asked.lock().insert(ask_id, sender);
        let ask = Ask { ask_id, trace_id: trace.as_bytes().to_vec().into(), tenant: tenant.as_field().to_owned() };
        let ask = CollectorMessage { kind: Some(collector_message::Kind::Ask(ask)) };
        let mut parts = Vec::new();
        let answered = async {
            self.outbox.send(ask).await.map_err(|_| "went away")?;
            let mut bytes = 0;
            loop {
                let part = found.recv().await.ok_or("went away before it had answered")?;
                bytes += part.payload.len();
                if bytes > MAX_FOUND_BYTES {
                    return Err("has more spans of the trace than one answer may hold");
                }
                if !part.payload.is_empty() {
                    parts.push(part.payload);
                }
                match (part.last, part.partial) {
                    (true, true) => return Err("could not look through its whole queue in time"),
                    (true, false) => return Ok(()),
                    (false, _) => {}
                }
            }
        };
        let answered = timeout_at(deadline, answered).await.unwrap_or(Err("did not answer in time"));
        self.asked.lock().remove(&ask_id);
        let reason = answered.err().map(|why| format!("the agent on {:?}, where spans wait, {why}", self.node));
        (parts, reason)
    }
}
