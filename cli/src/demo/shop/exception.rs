//! Errors as OpenTelemetry shows them: an `exception` event with the error's type, message and stack trace.

use std::{backtrace::Backtrace, error::Error};

use opentelemetry::{
    Context, KeyValue,
    trace::{Status, TraceContextExt},
};

/// The stack trace holds only frames of the shop: a program's own are the ones that its people know.
const OWN_SOURCES: &str = "demo/shop/";

/// Records `error` on the current span, with the stack that leads here, and marks the span as failed.
pub(crate) fn record<E: Error>(error: &E) {
    let context = Context::current();
    let span = context.span();
    let kind = std::any::type_name::<E>();
    span.add_event(
        "exception",
        vec![
            KeyValue::new("exception.type", kind),
            KeyValue::new("exception.message", error.to_string()),
            KeyValue::new("exception.stacktrace", stack_trace(error, kind)),
        ],
    );
    span.set_status(Status::error(error.to_string()));
}

/// Reads the program's debug information, which takes a moment, so that the first error need not.
pub(crate) fn prepare() {
    let _ = Backtrace::force_capture().to_string();
}

fn stack_trace(error: &dyn Error, kind: &str) -> String {
    let mut text = format!("{kind}: {error}");
    // Two lines a frame: `   7: function` and `          at file:line:column`.
    let backtrace = Backtrace::force_capture().to_string();
    let mut lines = backtrace.lines().peekable();
    while let Some(line) = lines.next() {
        let function = line.split_once(": ").map_or(line, |(_, function)| function);
        let place = lines.next_if(|line| line.trim_start().starts_with("at ")).unwrap_or_default();
        let Some(own) = place.find(OWN_SOURCES) else { continue };
        // What a generic function works on says little and is long.
        let function = function.split_once('<').map_or(function, |(name, _)| name);
        let place = &place[own..];
        if !place.contains("exception.rs") {
            text.push_str(&format!("\n    at {function} ({place})"));
        }
    }
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(&format!("\nCaused by: {error}"));
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stack_trace_names_the_error_its_functions_and_its_causes() {
        #[derive(Debug, thiserror::Error)]
        #[error("no order")]
        struct NoOrder(#[source] std::num::ParseIntError);
        let error = NoOrder("x".parse::<u8>().unwrap_err());
        let text = stack_trace(&error, "NoOrder");
        assert!(text.starts_with("NoOrder: no order"), "{text}");
        assert!(text.ends_with("Caused by: invalid digit found in string"), "{text}");
    }
}
