//! A trace in the JSON of Jaeger's UI, which is not that of the messages: ids in hexadecimal, times in microseconds.

use std::fmt::Write;

use base64::{Engine, engine::general_purpose::STANDARD};
use clew_common::{ids::TraceId, otlp::json::text};

use super::{
    model::{Log, Process, Reference, Span, Trace},
    tag::{Tag, Value},
};

/// The largest whole number that JavaScript has.
const MAX_SAFE: u64 = (1 << 53) - 1;

/// A trace, with its id.
pub fn written(id: TraceId, trace: &Trace<'_>) -> String {
    // What a span of fifteen attributes takes.
    let mut writer = Writer(String::with_capacity(1_500 * trace.spans.len()));
    writer.put("{\"traceID\":");
    writer.text(&digits(id.as_bytes()));
    writer.put(",\"spans\":");
    writer.list(&trace.spans, Writer::span);
    writer.put(",\"processes\":{");
    for (index, process) in trace.processes.iter().enumerate() {
        writer.put(if index == 0 { "" } else { "," });
        writer.process_id(index);
        writer.put(":");
        writer.process(process);
    }
    writer.put("},\"warnings\":");
    writer.warnings(&trace.warnings);
    writer.put("}");
    writer.0
}

/// A trace's id as Jaeger's model has it: one whose first half is zero, of older clients, has 16 digits.
pub fn digits(id: &[u8]) -> String {
    hex::encode(shown(id))
}

fn shown(id: &[u8]) -> &[u8] {
    let half = id.len() / 2;
    let is_short = id.len() == 16 && id[..half].iter().all(|byte| *byte == 0);
    if is_short { &id[half..] } else { id }
}

struct Writer(String);

impl Writer {
    fn put(&mut self, json: &str) {
        self.0.push_str(json);
    }

    fn text(&mut self, text: &str) {
        text::write(&mut self.0, text);
    }

    fn number(&mut self, number: impl std::fmt::Display) {
        let done = write!(self.0, "{number}");
        debug_assert!(done.is_ok(), "writing to a String does not fail");
    }

    /// Nanoseconds, as whole microseconds.
    fn micros(&mut self, ns: u64) {
        self.number(ns / 1_000);
    }

    fn hex(&mut self, id: &[u8]) {
        self.put("\"");
        text::write_hex(&mut self.0, id);
        self.put("\"");
    }

    fn list<T>(&mut self, items: &[T], write: impl Fn(&mut Self, &T)) {
        self.put("[");
        for (index, item) in items.iter().enumerate() {
            self.put(if index == 0 { "" } else { "," });
            write(self, item);
        }
        self.put("]");
    }

    fn warnings<T: AsRef<str>>(&mut self, warnings: &[T]) {
        match warnings {
            [] => self.put("null"),
            warnings => self.list(warnings, |writer, warning| writer.text(warning.as_ref())),
        }
    }

    fn process_id(&mut self, index: usize) {
        self.put("\"p");
        self.number(index + 1);
        self.put("\"");
    }

    fn process(&mut self, process: &Process<'_>) {
        self.put("{\"serviceName\":");
        self.text(process.service);
        self.put(",\"tags\":");
        self.list(&process.tags, Self::tag);
        self.put("}");
    }

    fn span(&mut self, span: &Span<'_>) {
        self.put("{\"traceID\":");
        self.hex(shown(span.trace_id));
        self.put(",\"spanID\":");
        self.hex(span.id);
        if span.flags != 0 {
            self.put(",\"flags\":");
            self.number(span.flags);
        }
        self.put(",\"operationName\":");
        self.text(span.name);
        self.put(",\"references\":");
        self.list(&span.references, Self::reference);
        self.put(",\"startTime\":");
        self.micros(span.start_ns);
        self.put(",\"duration\":");
        self.micros(span.duration_ns);
        self.put(",\"tags\":");
        self.list(&span.tags, Self::tag);
        self.put(",\"logs\":");
        self.list(&span.logs, Self::log);
        self.put(",\"processID\":");
        self.process_id(span.process);
        self.put(",\"warnings\":");
        self.warnings(&span.warnings);
        self.put("}");
    }

    fn reference(&mut self, reference: &Reference<'_>) {
        self.put("{\"refType\":\"");
        self.put(if reference.follows { "FOLLOWS_FROM" } else { "CHILD_OF" });
        self.put("\",\"traceID\":");
        self.hex(shown(reference.trace_id));
        self.put(",\"spanID\":");
        self.hex(reference.span_id);
        self.put("}");
    }

    fn log(&mut self, log: &Log<'_>) {
        self.put("{\"timestamp\":");
        self.micros(log.time_ns);
        self.put(",\"fields\":");
        self.list(&log.fields, Self::tag);
        self.put("}");
    }

    fn tag(&mut self, Tag { key, value }: &Tag<'_>) {
        self.put("{\"key\":");
        self.text(key);
        self.put(",\"type\":\"");
        self.put(match value {
            Value::Text(_) => "string",
            Value::Bool(_) => "bool",
            Value::Int(_) => "int64",
            Value::Float(_) => "float64",
            Value::Bytes(_) => "binary",
        });
        self.put("\",\"value\":");
        match value {
            Value::Text(text) => self.text(text),
            Value::Bool(yes) => self.number(yes),
            // What JavaScript would round is a text.
            Value::Int(number) if number.unsigned_abs() > MAX_SAFE => self.text(&number.to_string()),
            Value::Int(number) => self.number(number),
            Value::Float(number) if !number.is_finite() => self.text(&number.to_string()),
            // The shortest digits that are read back as the same number, and an exponent where there would be many.
            Value::Float(number) => self.number(format_args!("{number:?}")),
            Value::Bytes(bytes) => self.text(&STANDARD.encode(bytes)),
        }
        self.put("}");
    }
}
