//! Small traces as people write them: `README.md` says how.

use std::fs;

use clew_query::traceql::reference::Trace;
use opentelemetry_proto::tonic::{
    common::v1::{AnyValue, ArrayValue, InstrumentationScope, KeyValue, KeyValueList, any_value::Value},
    resource::v1::Resource,
    trace::v1::{
        ResourceSpans, ScopeSpans, Span, Status, TracesData,
        span::{Event, Link},
    },
};

use super::cases;

/// All times are after this: seconds since 1970, a multiple of the step of `measure/`.
pub const BEGIN_S: u64 = 1_000_000;

/// The traces of `traces/` by the names of their files.
pub fn all() -> Vec<(String, Trace)> {
    let folder = cases::folder().join("traces");
    let mut files: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    let name = |file: &std::path::Path| file.file_stem().unwrap().to_string_lossy().into_owned();
    let read = |file: &std::path::Path| Trace::new(read(&fs::read_to_string(file).unwrap()));
    files.iter().map(|file| (name(file), read(file))).collect()
}

fn read(text: &str) -> TracesData {
    let mut data = TracesData::default();
    let mut trace_id = vec![];
    let mut above: Vec<Vec<u8>> = Vec::new();
    let mut ids = 0;
    for line in text.lines().filter(|line| !line.trim().is_empty() && !line.starts_with('#')) {
        let words = words(line);
        let pairs = |from: usize| -> Vec<KeyValue> { words[from..].iter().filter_map(|word| pair(word)).collect() };
        match &*words[0] {
            "trace" => trace_id = id(&words[1], 16),
            "resource" => data.resource_spans.push(ResourceSpans {
                resource: Some(Resource { attributes: pairs(1), ..Resource::default() }),
                scope_spans: vec![ScopeSpans::default()],
                ..ResourceSpans::default()
            }),
            "scope" => {
                let resource = data.resource_spans.last_mut().unwrap();
                resource.scope_spans.push(ScopeSpans {
                    scope: Some(InstrumentationScope {
                        name: words[1].clone(),
                        version: words[2].clone(),
                        attributes: pairs(3),
                        ..InstrumentationScope::default()
                    }),
                    ..ScopeSpans::default()
                });
            }
            "event" => last_span(&mut data).events.push(Event {
                name: words[1].clone(),
                time_unix_nano: nanos(&words[2]),
                attributes: pairs(3),
                ..Event::default()
            }),
            "link" => last_span(&mut data).links.push(Link {
                trace_id: id(&words[1], 16),
                span_id: id(&words[2], 8),
                attributes: pairs(3),
                ..Link::default()
            }),
            dots => {
                let depth = if dots.bytes().all(|byte| byte == b'.') { dots.len() } else { 0 };
                let name = usize::from(depth > 0);
                let (start, end) = words[name + 1].split_once("..").unwrap();
                ids += 1;
                above.truncate(depth);
                let mut span = Span {
                    trace_id: trace_id.clone(),
                    span_id: id(&format!("{ids:x}"), 8),
                    parent_span_id: above.last().cloned().unwrap_or_default(),
                    name: words[name].clone(),
                    start_time_unix_nano: nanos(start),
                    end_time_unix_nano: nanos(end),
                    attributes: pairs(name + 2),
                    ..Span::default()
                };
                words[name + 2..].iter().for_each(|word| mark(&mut span, word));
                above.push(span.span_id.clone());
                let scopes = &mut data.resource_spans.last_mut().unwrap().scope_spans;
                scopes.last_mut().unwrap().spans.push(span);
            }
        }
    }
    data
}

fn last_span(data: &mut TracesData) -> &mut Span {
    let scopes = &mut data.resource_spans.last_mut().unwrap().scope_spans;
    scopes.last_mut().unwrap().spans.last_mut().unwrap()
}

/// A word of a span that is no attribute.
fn mark(span: &mut Span, word: &str) {
    let mut status = |code| span.status = Some(Status { code, ..Status::default() });
    match word {
        "ok" => status(1),
        "error" => status(2),
        "internal" => span.kind = 1,
        "server" => span.kind = 2,
        "client" => span.kind = 3,
        "producer" => span.kind = 4,
        "consumer" => span.kind = 5,
        _ => match word.split_once('=') {
            Some(("#id", text)) => span.span_id = id(text, 8),
            Some(("#parent", text)) => span.parent_span_id = id(text, 8),
            Some(("#message", text)) => {
                text.trim_matches('"').clone_into(&mut span.status.get_or_insert_default().message);
            }
            Some(_) => {}
            None => panic!("a span has no {word}"),
        },
    }
}

/// Splits at spaces outside of quotes; quotes around a whole word go.
fn words(line: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut quoted = false;
    for c in line.trim().chars() {
        quoted ^= c == '"';
        match c {
            ' ' if !quoted => words.push(String::new()),
            c => words.last_mut().unwrap().push(c),
        }
    }
    words.retain(|word| !word.is_empty());
    words.into_iter().map(|word| if word.starts_with('"') { word.trim_matches('"').to_owned() } else { word }).collect()
}

fn pair(word: &str) -> Option<KeyValue> {
    let (key, text) = word.split_once('=').filter(|(key, _)| !key.starts_with('#'))?;
    Some(KeyValue { key: key.to_owned(), value: Some(value(text)), ..KeyValue::default() })
}

fn value(text: &str) -> AnyValue {
    let value = match text {
        "null" => None,
        "bytes" => Some(Value::BytesValue(vec![1, 2])),
        "map" => Some(Value::KvlistValue(KeyValueList::default())),
        "true" | "false" => Some(Value::BoolValue(text == "true")),
        _ if text.starts_with('[') => {
            let elements = text.trim_matches(['[', ']']).split(',').filter(|element| !element.is_empty());
            Some(Value::ArrayValue(ArrayValue { values: elements.map(value).collect() }))
        }
        _ if text.starts_with('"') => Some(Value::StringValue(text.trim_matches('"').to_owned())),
        _ => match text.parse() {
            Ok(number) => Some(Value::IntValue(number)),
            Err(_) => Some(Value::DoubleValue(text.parse().unwrap())),
        },
    };
    AnyValue { value }
}

fn id(hex: &str, bytes: usize) -> Vec<u8> {
    let hex = format!("{hex:0>width$}", width = bytes * 2);
    (0..bytes).map(|byte| u8::from_str_radix(&hex[byte * 2..byte * 2 + 2], 16).unwrap()).collect()
}

/// Milliseconds after [`BEGIN_S`].
fn nanos(ms: &str) -> u64 {
    BEGIN_S * 1_000_000_000 + ms.parse::<u64>().unwrap() * 1_000_000
}
