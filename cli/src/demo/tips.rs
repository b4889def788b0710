//! What to try next, with traces that are really there.

use std::{
    collections::{BTreeSet, HashSet},
    io::{self, Write},
    time::Duration,
};

use futures_util::future::join_all;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, Span};
use prost::Message;
use tokio::{
    sync::mpsc,
    time::{sleep, timeout},
};

use super::shoppers::{Kind, Sighting};
use crate::{collector::Collector, output};

/// How long a trace may take until it is whole: services send every half a second.
const WHOLE_WITHIN: Duration = Duration::from_secs(10);

/// A trace that did not grow for this long is whole.
const SETTLED_AFTER: Duration = Duration::from_millis(700);

/// A trace that can be looked up.
#[derive(Clone, Debug)]
pub(crate) struct Tip {
    kind: Kind,
    pub(crate) trace_id: String,
    spans: usize,
    services: usize,
    duration_ns: u64,
}

/// The first order of each kind, once its trace is whole at the collector. Fewer when `sightings` ends before.
pub(crate) async fn gather(mut sightings: mpsc::Receiver<Sighting>, collector: Collector) -> Vec<Tip> {
    let mut firsts = [Kind::Ordinary, Kind::Failed, Kind::Slow].map(|kind| (kind, None));
    while firsts.iter().any(|(_, trace_id)| trace_id.is_none()) {
        let Some(sighting) = sightings.recv().await else { break };
        for (kind, trace_id) in &mut firsts {
            if *kind == sighting.kind && trace_id.is_none() {
                *trace_id = Some(sighting.trace_id);
            }
        }
    }
    drop(sightings);
    let seen = firsts.into_iter().filter_map(|(kind, trace_id)| Some((kind, trace_id?)));
    let tips = seen.map(|(kind, trace_id)| timeout(WHOLE_WITHIN, settled(&collector, kind, trace_id)));
    join_all(tips).await.into_iter().flatten().collect()
}

/// Waits until the trace is whole.
async fn settled(collector: &Collector, kind: Kind, trace_id: [u8; 16]) -> Tip {
    let mut before: Option<Tip> = None;
    loop {
        // Not found yet, or the collector is busy: the same again.
        let tip = match collector.trace(trace_id).await {
            Ok(found) => look(kind, trace_id, &found.resource_spans),
            Err(_) => None,
        };
        match (&before, tip) {
            (Some(before), Some(tip)) if before.spans == tip.spans => return tip,
            (_, tip) => before = tip,
        }
        sleep(SETTLED_AFTER).await;
    }
}

/// What the trace is like, if it has one root and no span without its parent.
fn look(kind: Kind, trace_id: [u8; 16], resource_spans: &[impl AsRef<[u8]>]) -> Option<Tip> {
    let mut services = BTreeSet::new();
    let mut spans: Vec<Span> = Vec::new();
    for bytes in resource_spans {
        let ResourceSpans { resource, scope_spans, .. } = ResourceSpans::decode(bytes.as_ref()).ok()?;
        let attributes = resource.map(|resource| resource.attributes).unwrap_or_default();
        let name = attributes.into_iter().find(|attribute| attribute.key == "service.name")?.value?;
        services.insert(format!("{:?}", name.value));
        spans.extend(scope_spans.into_iter().flat_map(|scope| scope.spans));
    }
    let known: HashSet<&[u8]> = spans.iter().map(|span| span.span_id.as_slice()).collect();
    let mut roots = spans.iter().filter(|span| span.parent_span_id.is_empty());
    let root = roots.next()?;
    let orphan = |span: &Span| !span.parent_span_id.is_empty() && !known.contains(span.parent_span_id.as_slice());
    if roots.next().is_some() || spans.iter().any(orphan) {
        return None;
    }
    Some(Tip {
        kind,
        trace_id: hex::encode(trace_id),
        spans: spans.len(),
        services: services.len(),
        duration_ns: root.end_time_unix_nano.saturating_sub(root.start_time_unix_nano),
    })
}

/// Says what to try.
///
/// # Errors
/// When nobody reads.
pub(crate) fn show(tips: &[Tip], command: impl Fn(&str, &str) -> String, tempo: &str) -> io::Result<()> {
    let mut out = output::stdout();
    let Some(first) = tips.first() else { return Ok(()) };
    writeln!(out, "The first traces are stored. Look at them, in another terminal:")?;
    for tip in tips {
        let name = match tip.kind {
            Kind::Ordinary => "an order",
            Kind::Failed => "one that failed",
            Kind::Slow => "a slow one",
        };
        let Tip { spans, services, duration_ns, .. } = tip;
        let duration = output::duration_ns(*duration_ns);
        writeln!(
            out,
            "  {name:<16} {}   ({spans} spans of {services} services, {duration})",
            command("trace", &tip.trace_id)
        )?;
    }
    if let Some(slow) = tips.iter().find(|tip| tip.kind == Kind::Slow).filter(|slow| slow.trace_id != first.trace_id) {
        let both = format!("{} {}", first.trace_id, slow.trace_id);
        writeln!(out, "  {:<16} {}", "why it is slow", command("compare", &both))?;
    }
    writeln!(out, "  {:<16} curl {tempo}/api/v2/traces/{}", "over Tempo's API", first.trace_id)?;
    out.flush()
}

#[cfg(test)]
mod tests {
    use opentelemetry_proto::tonic::{
        common::v1::{AnyValue, KeyValue, any_value::Value},
        resource::v1::Resource,
        trace::v1::ScopeSpans,
    };

    use super::*;

    fn service(name: &str, spans: &[(u8, u8)]) -> Vec<u8> {
        let name = AnyValue { value: Some(Value::StringValue(name.to_owned())) };
        let attribute = KeyValue { key: "service.name".to_owned(), value: Some(name), ..KeyValue::default() };
        let span = |(id, parent): &(u8, u8)| Span {
            span_id: vec![*id; 8],
            parent_span_id: if *parent == 0 { Vec::new() } else { vec![*parent; 8] },
            start_time_unix_nano: 5,
            end_time_unix_nano: 9,
            ..Span::default()
        };
        ResourceSpans {
            resource: Some(Resource { attributes: vec![attribute], ..Resource::default() }),
            scope_spans: vec![ScopeSpans { spans: spans.iter().map(span).collect(), ..ScopeSpans::default() }],
            ..ResourceSpans::default()
        }
        .encode_to_vec()
    }

    #[test]
    fn only_a_whole_trace_is_a_tip() {
        let look =
            |parts: &[Vec<u8>]| look(Kind::Slow, [7; 16], parts).map(|tip| (tip.spans, tip.services, tip.duration_ns));
        let (front, back) = (service("front", &[(1, 0), (2, 1)]), service("back", &[(3, 2)]));
        assert_eq!(look(&[front.clone(), back.clone()]), Some((3, 2, 4)));
        assert_eq!(look(std::slice::from_ref(&back)), None, "its parent is missing");
        assert_eq!(look(&[front, service("other", &[(9, 0)])]), None, "it has two roots");
        assert_eq!(look(&[]), None);
    }
}
