//! JSON for people, as `prettyPrint` asks for it.

use axum::{
    body::{Body, to_bytes},
    extract::{Query, Request},
    middleware::Next,
    response::Response,
};
use http::header::{CONTENT_LENGTH, CONTENT_TYPE};

use super::params::Params;

/// What a level is moved in by.
const INDENT: &str = "    ";

/// Puts an answer on several lines when that is asked for.
pub async fn pretty(Query(params): Query<Params>, request: Request, next: Next) -> Response {
    let wanted = params.text("prettyPrint").is_some_and(|said| said != "false");
    let (mut head, body) = next.run(request).await.into_parts();
    if !wanted || head.headers.get(CONTENT_TYPE).is_none_or(|kind| kind != "application/json") {
        return Response::from_parts(head, body);
    }
    // All of it is in memory already.
    let Ok(json) = to_bytes(body, usize::MAX).await else { return Response::from_parts(head, Body::empty()) };
    head.headers.remove(CONTENT_LENGTH);
    Response::from_parts(head, indented(&json).into())
}

/// The same JSON on several lines. Nothing in it is read, so that nothing can change.
fn indented(json: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(json.len() * 3);
    let (mut depth, mut in_text, mut is_escaped) = (0usize, false, false);
    let line = |out: &mut Vec<u8>, depth: usize| {
        out.push(b'\n');
        (0..depth).for_each(|_| out.extend(INDENT.as_bytes()));
    };
    for (at, byte) in json.iter().enumerate() {
        if in_text {
            in_text = is_escaped || *byte != b'"';
            is_escaped = !is_escaped && *byte == b'\\';
            out.push(*byte);
            continue;
        }
        match byte {
            b'{' | b'[' => {
                depth += 1;
                out.push(*byte);
                if !matches!(json.get(at + 1), Some(b'}' | b']')) {
                    line(&mut out, depth);
                }
            }
            b'}' | b']' => {
                depth = depth.saturating_sub(1);
                if !matches!(out.last(), Some(b'{' | b'[')) {
                    line(&mut out, depth);
                }
                out.push(*byte);
            }
            b',' => {
                out.push(b',');
                line(&mut out, depth);
            }
            b':' => out.extend(b": "),
            _ => {
                in_text = *byte == b'"';
                out.push(*byte);
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_is_the_same_on_several_lines() {
        let json = serde_json::json!({
            "a": [1, -2.5, true, null], "b": {}, "c": [], "d": [[{"e": "\\"}]], "f": "say \"{[,:]}\" \\\" ", "": "é",
        });
        let lines = String::from_utf8(indented(json.to_string().as_bytes())).unwrap();
        assert_eq!(serde_json::from_str::<serde_json::Value>(&lines).unwrap(), json);
        let pretty = serde_json::to_string_pretty(&json).unwrap();
        assert_eq!(lines.replace("    ", "  "), pretty);
    }
}
