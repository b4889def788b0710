//! Queries that narrow what tags are shown: editors send them while they are being written.

use clew_query::traceql::{
    self,
    ast::{Body, Pipeline, SpansetExpr, SpansetKind, Stage},
};

/// Conditions that are looked at: each may take 20 ms to read.
const MAX_CONDITIONS: usize = 32;

/// The spans that a query finds, as far as it can be read, which may take a second: of `{ a = 1 && b = }` those with `a = 1`. None: all spans.
pub fn readable(query: &str) -> Option<Pipeline> {
    if let Some(pipeline) = spans(query) {
        return (!is_all(&pipeline)).then_some(pipeline);
    }
    let inside = query.trim().strip_prefix('{')?;
    let inside = inside.trim_end().strip_suffix('}').unwrap_or(inside);
    let parts =
        conditions(inside).into_iter().take(MAX_CONDITIONS).filter(|part| spans(&format!("{{ {part} }}")).is_some());
    let parts: Vec<&str> = parts.filter(|part| !part.trim().is_empty()).collect();
    if parts.is_empty() { None } else { spans(&format!("{{ {} }}", parts.join(" && "))) }
}

fn spans(query: &str) -> Option<Pipeline> {
    match traceql::parse(query).ok()?.body {
        Body::Spans(pipeline) => Some(pipeline),
        Body::Metrics(_) => None,
    }
}

fn is_all(pipeline: &Pipeline) -> bool {
    matches!(&pipeline.stages[..], [Stage::Spansets(SpansetExpr { kind: SpansetKind::Filter(None), .. })])
}

/// What stands between `&&` outside of parentheses and strings.
fn conditions(text: &str) -> Vec<&str> {
    let (mut parts, mut start, mut depth, mut quote) = (Vec::new(), 0, 0i32, None);
    let mut chars = text.char_indices().peekable();
    while let Some((at, c)) = chars.next() {
        match (quote, c) {
            (Some('"'), '\\') => {
                chars.next();
            }
            (Some(open), c) if open == c => quote = None,
            (Some(_), _) => {}
            (None, '"' | '`') => quote = Some(c),
            (None, '(') => depth += 1,
            (None, ')') => depth -= 1,
            (None, '&') if depth == 0 && chars.next_if(|(_, next)| *next == '&').is_some() => {
                parts.push(&text[start..at]);
                start = at + 2;
            }
            (None, _) => {}
        }
    }
    parts.push(&text[start..]);
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_can_be_read_of_a_query_counts() {
        for (query, read) in [
            ("{ .a = 1 }", Some("{ .a = 1 }")),
            ("{ .a = 1 && .b = }", Some("{ .a = 1 }")),
            ("{ .b = && .a = \"x && }\" && (.c = 1 || .d = 2) }", Some("{ .a = \"x && }\" && (.c = 1 || .d = 2) }")),
            ("{ .a = 1 && ", Some("{ .a = 1 }")),
            ("{ .a = 1 && name = \"un", Some("{ .a = 1 }")),
            ("{ .b = }", None),
            ("{}", None),
            ("{", None),
            ("", None),
            ("{ } | rate()", None),
            ("{ .a = \"\\", None),
            ("&& }", None),
        ] {
            assert_eq!(readable(query), read.and_then(spans), "{query}");
        }
    }
}
