//! Searches by tags, which are older than TraceQL, written in it.

use clew_query::traceql::ast::{Field, Intrinsic, Literal, Scope};

const KINDS: [&str; 5] = ["internal", "server", "client", "producer", "consumer"];

/// The TraceQL for tags and bounds of the trace's duration in nanoseconds. A span has to have all tags; text that contains
/// a tag's value is enough, in letters of either case.
pub fn traceql<'a>(
    tags: impl IntoIterator<Item = (&'a str, &'a str)>,
    min_ns: Option<u64>,
    max_ns: Option<u64>,
) -> String {
    let named = tags.into_iter().filter(|(name, _)| !name.is_empty());
    let mut conditions: Vec<String> = named.map(|(name, value)| condition(name, value)).collect();
    let bound = |op: &str, ns: u64| {
        let duration = Literal::Duration(i64::try_from(ns).unwrap_or(i64::MAX));
        format!("{} {op} {duration}", Intrinsic::TraceDuration)
    };
    conditions.extend(min_ns.map(|ns| bound(">=", ns)));
    conditions.extend(max_ns.map(|ns| bound("<=", ns)));
    if conditions.is_empty() { "{ }".to_owned() } else { format!("{{ {} }}", conditions.join(" && ")) }
}

fn condition(name: &str, value: &str) -> String {
    let field = match field(name) {
        status @ Field::Intrinsic(Intrinsic::Status) if ["ok", "error", "unset"].contains(&value) => {
            return format!("{status} = {value}");
        }
        kind @ Field::Intrinsic(Intrinsic::Kind) if KINDS.contains(&value) => return format!("{kind} = {value}"),
        // Spans may have an attribute of that name too.
        Field::Intrinsic(Intrinsic::Status | Intrinsic::Kind) => Field::attribute(Scope::Any, name),
        field => field,
    };
    let pattern = Literal::String(format!("(?is).*{}.*", escaped(value)));
    let text = format!("{field} =~ {pattern}");
    let literal = match value {
        "true" | "false" => Some(value.to_owned()),
        _ => match (value.parse::<i64>(), value.parse::<f64>()) {
            (Ok(number), _) => Some(Literal::Int(number).to_string()),
            (_, Ok(number)) if number.is_finite() => Some(Literal::Float(number).to_string()),
            _ => None,
        },
    };
    match literal {
        Some(literal) if matches!(field, Field::Attribute(_)) => format!("({text} || {field} = {literal})"),
        _ => text,
    }
}

/// What a tag's name names: what spans always have under the names that it has there, or an attribute.
pub fn field(name: &str) -> Field {
    match name {
        "name" => Field::Intrinsic(Intrinsic::Name),
        "status" | "status.code" => Field::Intrinsic(Intrinsic::Status),
        "kind" => Field::Intrinsic(Intrinsic::Kind),
        "root.name" => Field::Intrinsic(Intrinsic::RootName),
        "root.service.name" => Field::Intrinsic(Intrinsic::RootService),
        name => Field::attribute(Scope::Any, name),
    }
}

/// A text as a regular expression that matches it.
fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_ascii_punctuation() && c != '_' {
            escaped.push('\\');
        }
        escaped.push(c);
    }
    escaped
}

/// Takes logfmt apart: `a=b c="d e"`; a name without a value has an empty one.
pub fn logfmt(text: &str) -> Vec<(String, String)> {
    let mut pairs = Vec::new();
    let mut chars = text.chars().peekable();
    loop {
        while chars.next_if(|c| c.is_whitespace()).is_some() {}
        let mut name = String::new();
        while let Some(c) = chars.next_if(|c| !c.is_whitespace() && *c != '=') {
            name.push(c);
        }
        let mut value = String::new();
        if chars.next_if_eq(&'=').is_some() {
            if chars.next_if_eq(&'"').is_some() {
                while let Some(c) = chars.next() {
                    match c {
                        '"' => break,
                        '\\' => value.extend(chars.next()),
                        c => value.push(c),
                    }
                }
            } else {
                while let Some(c) = chars.next_if(|c| !c.is_whitespace()) {
                    value.push(c);
                }
            }
        }
        if !name.is_empty() {
            pairs.push((name, value));
        } else if chars.peek().is_none() {
            return pairs;
        }
    }
}

#[cfg(test)]
mod tests {
    use clew_query::traceql;

    use super::*;

    #[test]
    fn logfmt_is_taken_apart_and_nothing_hangs() {
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        let text = r#" a=b  c="d e" f g="h \"i\"" =x k=""#;
        let pairs = [pair("a", "b"), pair("c", "d e"), pair("f", ""), pair("g", "h \"i\""), pair("k", "")];
        assert_eq!(logfmt(text), pairs);
        assert_eq!(logfmt("\"=\"=\"\\"), [pair("\"", "="), pair("\\", "")]);
        assert!(logfmt("  = ").is_empty());
    }

    #[test]
    fn whatever_the_tags_are_the_query_can_be_read() {
        for (name, value) in [
            ("http.method", "GET"),
            ("http.status_code", "200"),
            ("weight", "1.5"),
            ("status.code", "error"),
            ("status", "bad"),
            ("name", "a \"b\" `c` \\ (d"),
            ("key with \"quotes\" and \\", "ž[.*"),
            ("", ""),
            ("x", "99999999999999999999999"),
            ("x", "-5"),
            ("kind", "server"),
        ] {
            let query = traceql([(name, value)], Some(1_500_000), Some(u64::MAX));
            traceql::parse(&query).unwrap_or_else(|error| panic!("{query}: {error}"));
        }
        assert_eq!(traceql([], None, None), "{ }");
    }
}
