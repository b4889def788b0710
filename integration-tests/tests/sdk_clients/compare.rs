//! Says where what came back differs from what was made.

use std::collections::BTreeMap;

use serde_json::Value;

/// The differences between two sets of spans, one sentence each. Spans are matched by their ids; their order means nothing.
pub fn differences(made: &[Value], found: &[Value]) -> Vec<String> {
    let mut differences = Vec::new();
    let mut found_by_id: BTreeMap<String, Vec<&Value>> = BTreeMap::new();
    for span in found {
        found_by_id.entry(id(span)).or_default().push(span);
    }
    for span in made {
        let at = format!("span {:.40} {}", span["name"].to_string(), span["span_id"]);
        match found_by_id.remove(&id(span)).as_deref() {
            None => differences.push(format!("{at} is missing")),
            Some([one]) => value_differences(&at, span, one, &mut differences),
            Some(several) => differences.push(format!("{at} came back {} times", several.len())),
        }
    }
    differences.extend(found_by_id.keys().map(|id| format!("a span that was not made came back: {id}")));
    differences
}

fn id(span: &Value) -> String {
    format!("{}-{}", span["trace_id"], span["span_id"])
}

fn value_differences(at: &str, made: &Value, found: &Value, differences: &mut Vec<String>) {
    match (made, found) {
        (Value::Object(made), Value::Object(found)) => {
            for (key, value) in made {
                match found.get(key) {
                    None => differences.push(format!("{at}.{key}: made {}, missing in the answer", brief(value))),
                    Some(other) => value_differences(&format!("{at}.{key}"), value, other, differences),
                }
            }
            for (key, value) in found.iter().filter(|(key, _)| !made.contains_key(*key)) {
                differences.push(format!("{at}.{key}: not made, the answer has {}", brief(value)));
            }
        }
        (Value::Array(made), Value::Array(found)) if made.len() == found.len() => {
            for (index, (value, other)) in made.iter().zip(found).enumerate() {
                value_differences(&format!("{at}[{index}]"), value, other, differences);
            }
        }
        _ if made == found => {}
        _ => differences.push(format!("{at}: made {}, the answer has {}", brief(made), brief(found))),
    }
}

fn brief(value: &Value) -> String {
    let text = value.to_string();
    match text.char_indices().nth(200) {
        Some((end, _)) => format!("{}... ({} bytes)", &text[..end], text.len()),
        None => text,
    }
}

#[test]
fn a_difference_anywhere_in_a_span_is_named() {
    use serde_json::json;
    use std::slice::from_ref;

    let span = json!({"trace_id": "01", "span_id": "02", "name": "n", "attributes": {"a": {"int": "1"}}, "events": []});
    let mut other = span.clone();
    other["attributes"]["a"] = json!({"string": "1"});
    other["events"] = json!([{"name": "e"}]);
    let (one, two) = (from_ref(&span), [span.clone(), span.clone()]);
    assert_eq!(differences(one, one), [""; 0]);
    assert_eq!(
        differences(one, &[other]),
        [
            r#"span "n" "02".attributes.a.int: made "1", missing in the answer"#,
            r#"span "n" "02".attributes.a.string: not made, the answer has "1""#,
            r#"span "n" "02".events: made [], the answer has [{"name":"e"}]"#,
        ]
    );
    assert_eq!(differences(one, &[]), [r#"span "n" "02" is missing"#]);
    assert_eq!(differences(one, &two), [r#"span "n" "02" came back 2 times"#]);
    assert_eq!(differences(&[], one), [r#"a span that was not made came back: "01"-"02""#]);
}
