//! A queue of messages in memory, with the spans of a message broker's client on both sides.

use std::{
    collections::HashMap,
    time::{Duration, SystemTime},
};

use opentelemetry::{
    Context, KeyValue,
    trace::{Link, SpanKind, Status, TraceContextExt},
};
use tokio::sync::mpsc;

use super::{
    propagation,
    telemetry::{self, Telemetry},
};

/// Messages that may wait. Past it the sender gets an error.
const MAX_WAITING: usize = 1_000;

/// Messages that are received at once.
const MAX_BATCH: usize = 8;

/// A message on its way.
#[derive(Debug)]
pub(crate) struct Message<T> {
    pub(crate) id: String,
    pub(crate) body: T,
    /// Its sender's trace context.
    properties: HashMap<String, String>,
}

/// The queue is full or nobody reads it.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("the queue {0} takes no messages")]
pub(crate) struct Unsent(&'static str);

/// Where messages go in. Cheap to clone.
#[derive(Debug)]
pub(crate) struct Producer<T> {
    name: &'static str,
    telemetry: Telemetry,
    sender: mpsc::Sender<Message<T>>,
}

impl<T> Clone for Producer<T> {
    fn clone(&self) -> Self {
        Self { name: self.name, telemetry: self.telemetry.clone(), sender: self.sender.clone() }
    }
}

/// Where messages come out.
#[derive(Debug)]
pub(crate) struct Consumer<T> {
    name: &'static str,
    telemetry: Telemetry,
    receiver: mpsc::Receiver<Message<T>>,
}

/// A queue from one service to another.
pub(crate) fn channel<T>(name: &'static str, from: &Telemetry, to: &Telemetry) -> (Producer<T>, Consumer<T>) {
    let (sender, receiver) = mpsc::channel(MAX_WAITING);
    (Producer { name, telemetry: from.clone(), sender }, Consumer { name, telemetry: to.clone(), receiver })
}

fn attributes(name: &'static str, operation: &'static str, kind: &'static str) -> Vec<KeyValue> {
    vec![
        KeyValue::new("messaging.system", "clew-demo"),
        KeyValue::new("messaging.destination.name", name),
        KeyValue::new("messaging.operation.name", operation),
        KeyValue::new("messaging.operation.type", kind),
    ]
}

impl<T> Producer<T> {
    /// Sends a message.
    ///
    /// # Errors
    /// When the queue is full.
    pub(crate) async fn send(&self, id: String, body: T) -> Result<(), Unsent> {
        let mut attributes = attributes(self.name, "send", "send");
        attributes.push(KeyValue::new("messaging.message.id", id.clone()));
        let span = telemetry::span(format!("send {}", self.name), SpanKind::Producer, attributes);
        let context = self.telemetry.begin(span);
        let properties = propagation::to_properties(&context);
        telemetry::run(context.clone(), async {
            let sent = self.sender.try_send(Message { id, body, properties }).map_err(|_| Unsent(self.name));
            if let Err(error) = &sent {
                context.span().set_status(Status::error(error.to_string()));
            }
            sent
        })
        .await
    }
}

/// Messages that were received together, and the span in which that was.
#[derive(Debug)]
pub(crate) struct Batch<T> {
    pub(crate) messages: Vec<Message<T>>,
    received: Context,
}

impl<T> Consumer<T> {
    /// The next messages; None when there will be no more. A trace of its own, linked to those of the messages.
    pub(crate) async fn receive(&mut self) -> Option<Batch<T>> {
        let mut messages = vec![self.receiver.recv().await?];
        let started = SystemTime::now();
        // A broker's client waits a little for more.
        tokio::time::sleep(Duration::from_millis(20)).await;
        while messages.len() < MAX_BATCH
            && let Ok(message) = self.receiver.try_recv()
        {
            messages.push(message);
        }
        let links = messages.iter().map(|message| link(&propagation::from_properties(&message.properties))).collect();
        let mut attributes = attributes(self.name, "receive", "receive");
        attributes.push(KeyValue::new("messaging.batch.message_count", messages.len() as i64));
        let span = telemetry::span(format!("receive {}", self.name), SpanKind::Client, attributes)
            .with_start_time(started)
            .with_links(links);
        let received = self.telemetry.begin_under(&Context::new(), span);
        received.span().end();
        Some(Batch { messages, received })
    }

    /// A span for work on a message: in the trace of its sender, linked to its receiving.
    pub(crate) fn processing(&self, message: &Message<T>, received: &Context) -> Context {
        let mut attributes = attributes(self.name, "process", "process");
        attributes.push(KeyValue::new("messaging.message.id", message.id.clone()));
        let parent = propagation::from_properties(&message.properties);
        let span = telemetry::span(format!("process {}", self.name), SpanKind::Consumer, attributes)
            .with_links(vec![link(&parent), link(received)]);
        self.telemetry.begin_under(&parent, span)
    }
}

impl<T> Batch<T> {
    /// The span in which the messages were received.
    pub(crate) fn received(&self) -> &Context {
        &self.received
    }
}

fn link(context: &Context) -> Link {
    Link::with_context(context.span().span_context().clone())
}
