//! Fields by their names.

use clew_query::traceql::{
    self,
    ast::{Body, Field, Pipeline, Stage},
};

use super::QueryError;

/// The field that a tag's name names, as TraceQL writes it: `resource.service.name`, `.http.method`, `name`, `span:name`.
///
/// # Errors
/// When it names none.
pub fn field(name: &str) -> Result<Field, QueryError> {
    let wrong = |why: String| {
        QueryError::invalid(format!(
            "{name:?} is no tag: expected a name such as .http.method, resource.service.name or name{why}"
        ))
    };
    let query = format!("{{ }} | select({name}\n)");
    let query = traceql::parse(&query).map_err(|error| wrong(format!(" ({})", error.message)))?;
    match query.body {
        Body::Spans(Pipeline { mut stages }) if stages.len() == 2 => match stages.pop() {
            Some(Stage::Select(mut fields)) if fields.len() == 1 => {
                fields.pop().map(|field| field.field).ok_or_else(|| wrong(String::new()))
            }
            _ => Err(wrong(String::new())),
        },
        _ => Err(wrong(String::new())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_is_a_field_and_nothing_more() {
        for name in
            [".http.method", "resource.service.name", "name", "span:name", "event:name", "span.\"a b\"", "status"]
        {
            assert!(field(name).is_ok(), "{name}");
        }
        for name in ["", "a b", "name, kind", "name) | rate(", "name) // ", "1", "service.name", "name) | select(kind"]
        {
            assert!(field(name).is_err(), "{name}");
        }
    }
}
