//! What a search looks for, in TraceQL.

use clew_query::traceql::ast::{Field, Intrinsic, Literal, Scope};

use super::model::NO_SERVICE;

/// What a span has to have.
#[derive(Clone, Debug, Default)]
pub struct Wanted {
    pub service: Option<String>,
    pub operation: Option<String>,
    pub min_ns: Option<u64>,
    pub max_ns: Option<u64>,
    /// Each of them, as text. No key is empty.
    pub tags: Vec<(String, String)>,
}

impl Wanted {
    /// The query. Tags are those of the span, of its resource or of one of its events.
    pub fn traceql(&self) -> String {
        let mut conditions = Vec::new();
        let is = |field: &Field, text: &str| format!("{field} = {}", Literal::String(text.to_owned()));
        conditions.extend(self.service.as_deref().map(of_service));
        conditions.extend(self.operation.as_deref().map(|name| is(&Field::Intrinsic(Intrinsic::Name), name)));
        let bound = |op: &str, ns: u64| {
            let duration = Literal::Duration(i64::try_from(ns).unwrap_or(i64::MAX));
            format!("{} {op} {duration}", Field::Intrinsic(Intrinsic::Duration))
        };
        conditions.extend(self.min_ns.map(|ns| bound(">=", ns)));
        conditions.extend(self.max_ns.map(|ns| bound("<=", ns)));
        conditions.extend(self.tags.iter().map(|(key, value)| tag(key, value)));
        if conditions.is_empty() { "{ }".to_owned() } else { format!("{{ {} }}", conditions.join(" && ")) }
    }
}

/// The field that names a service.
pub fn service_name() -> Field {
    Field::attribute(Scope::Resource, "service.name")
}

/// Whether a span is of a service, by the name that answers have for it.
pub fn of_service(name: &str) -> String {
    let is = format!("{} = {}", service_name(), Literal::String(name.to_owned()));
    if name == NO_SERVICE { format!("({is} || {} = nil)", service_name()) } else { is }
}

/// What OTLP keeps elsewhere than in attributes has the tags that Jaeger makes of it.
pub fn tag(key: &str, value: &str) -> String {
    let text = |intrinsic: Intrinsic| format!("{intrinsic} = {}", Literal::String(value.to_owned()));
    let or_attribute = |condition: String| format!("({condition} || {})", attribute(key, value));
    match (key, value) {
        ("error", "true") => or_attribute("status = error".to_owned()),
        ("error", "false") => "status != error".to_owned(),
        ("span.kind", "internal" | "server" | "client" | "producer" | "consumer") => format!("kind = {value}"),
        ("otel.status_code", "ERROR" | "error") => "status = error".to_owned(),
        ("otel.status_code", "OK" | "ok") => "status = ok".to_owned(),
        ("otel.status_description", _) => text(Intrinsic::StatusMessage),
        ("otel.scope.name" | "otel.library.name", _) => or_attribute(text(Intrinsic::InstrumentationName)),
        ("otel.scope.version" | "otel.library.version", _) => or_attribute(text(Intrinsic::InstrumentationVersion)),
        _ => attribute(key, value),
    }
}

fn attribute(key: &str, value: &str) -> String {
    let mut literals = vec![Literal::String(value.to_owned()).to_string()];
    match value {
        "true" | "false" => literals.push(value.to_owned()),
        _ => match (value.parse::<i64>(), value.parse::<f64>()) {
            (Ok(number), _) => literals.push(Literal::Int(number).to_string()),
            (_, Ok(number)) if number.is_finite() => literals.push(Literal::Float(number).to_string()),
            _ => {}
        },
    }
    let fields = [Scope::Span, Scope::Resource, Scope::Event].map(|scope| Field::attribute(scope, key));
    let each = fields.iter().flat_map(|field| literals.iter().map(move |literal| format!("{field} = {literal}")));
    format!("({})", each.collect::<Vec<_>>().join(" || "))
}

#[cfg(test)]
mod tests {
    use clew_query::traceql;

    use super::*;

    #[test]
    fn whatever_is_looked_for_the_query_can_be_read() {
        let odd = ["a b", "\"", "\\", "`x`", "{", "ž", "", "\n", "99999999999999999999", "-5", "1e999", "NaN", "true"];
        for key in odd.into_iter().filter(|key| !key.is_empty()) {
            for value in odd {
                let wanted = Wanted {
                    service: Some(value.to_owned()),
                    operation: Some(value.to_owned()),
                    min_ns: Some(1),
                    max_ns: Some(u64::MAX),
                    tags: vec![(key.to_owned(), value.to_owned())],
                };
                let query = wanted.traceql();
                traceql::parse(&query).unwrap_or_else(|error| panic!("{query}: {error}"));
            }
        }
        assert_eq!(Wanted::default().traceql(), "{ }");
        traceql::parse(&format!("{{ {} }}", of_service(NO_SERVICE))).unwrap();
    }

    #[test]
    fn tags_that_jaeger_makes_are_looked_for_where_otlp_has_them() {
        let tag = |key: &str, value: &str| super::tag(key, value);
        assert_eq!(tag("span.kind", "server"), "kind = server");
        assert_eq!(tag("otel.status_code", "ERROR"), "status = error");
        assert_eq!(
            tag("k", "5"),
            "(span.k = \"5\" || span.k = 5 || resource.k = \"5\" || resource.k = 5 || event.k = \"5\" || event.k = 5)"
        );
    }
}
