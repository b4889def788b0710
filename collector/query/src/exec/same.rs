//! Whether spans say the same, wherever they lie: those do that are stored twice.

use std::collections::{HashMap, HashSet};

use clew_storage::{merge::describe, schema::core};
use xxhash_rust::xxh3::xxh3_128;

use super::{
    scope::Scope,
    trace::{Parent, Span},
};

/// Drops spans that are stored twice: they are in different parts, and the same in all that they say. Of these the first stays.
/// Parents are told by their ids, and what has the same times and id stands together. Blocking.
pub fn drop_repeats(scope: &Scope, spans: &mut Vec<Span>) {
    let alike = |a: &Span, b: &Span| (a.id, a.start, a.duration) == (b.id, b.start, b.duration);
    let suspicious = |pair: &[Span]| alike(&pair[0], &pair[1]) && pair[0].part != pair[1].part;
    if !spans.windows(2).any(suspicious) {
        return;
    }
    let pace = scope.pace();
    let mut repeats = HashSet::new();
    let mut before = 0;
    for run in spans.chunk_by(alike) {
        let first = before;
        before += run.len();
        if run.iter().all(|span| span.part == run[0].part) {
            continue;
        }
        let mut parts: HashMap<(Parent, u128), u32> = HashMap::new();
        for (at, span) in run.iter().enumerate().take_while(|_| pace.goes_on()) {
            // What cannot be compared stays.
            let Some(content) = content(scope, span) else { continue };
            if *parts.entry((span.parent, content)).or_insert(span.part) != span.part {
                repeats.insert(first + at);
            }
        }
    }
    let mut at = 0;
    spans.retain(|_| {
        at += 1;
        !repeats.contains(&(at - 1))
    });
}

/// A hash of all that a span says but for its parent; None when it cannot be read.
fn content(scope: &Scope, span: &Span) -> Option<u128> {
    let part = &scope.parts[span.part as usize].part;
    let mut said = Vec::new();
    let column = |at: usize| if at == core::PARENT_SPAN_ID { Ok(None) } else { part.column(&scope.cache, at) };
    match describe(&part.schema, span.row as usize, column, &mut said) {
        Ok(()) => Some(xxh3_128(&said)),
        Err(error) => {
            scope.failed(&error);
            None
        }
    }
}
