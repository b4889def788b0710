//! Says beside an answer why something may be missing from it.

use http::{HeaderMap, HeaderValue};
use tonic::metadata::MetadataMap;

/// The name of the header, and of the key in gRPC's response metadata.
const PARTIAL: &str = "x-clew-partial";
/// No header is longer: clients have limits for them.
const MAX_BYTES: usize = 1024;

/// Reasons take no more of a message: each block that cannot be read may have one.
const MAX_MESSAGE_BYTES: usize = 64 << 10;

/// Reasons for a field of a message: the first ones, and how many there are besides.
pub fn reasons(missing: Vec<String>) -> Vec<String> {
    let mut bytes = 0;
    let fit = missing.iter().take_while(|why| {
        bytes += why.len();
        bytes <= MAX_MESSAGE_BYTES
    });
    let (fit, all) = (fit.count(), missing.len());
    let more = (fit < all).then(|| format!("and {} more reasons", all - fit));
    missing.into_iter().take(fit).chain(more).collect()
}

/// What is said of pieces that one message has no room for: "2 of 5 names of span attributes".
pub fn left_out(kept: usize, left_out: usize, what: &str) -> Option<String> {
    let all = kept + left_out;
    (left_out > 0).then(|| format!("the answer is too long: {left_out} of {all} {what} are left out"))
}

/// Marks an answer over HTTP. Nothing is said when nothing is missing.
pub fn mark(headers: &mut HeaderMap, missing: &[String]) {
    if let Some(why) = text(missing).and_then(|why| HeaderValue::try_from(why).ok()) {
        headers.insert(PARTIAL, why);
    }
}

/// The same over gRPC.
pub fn mark_metadata(metadata: &mut MetadataMap, missing: &[String]) {
    if let Some(why) = text(missing).and_then(|why| why.parse().ok()) {
        metadata.insert(PARTIAL, why);
    }
}

/// Visible ASCII only. None when nothing is missing.
fn text(missing: &[String]) -> Option<String> {
    if missing.is_empty() {
        return None;
    }
    let mut text = missing.join("; ").replace(|c: char| !(' '..='~').contains(&c), "?");
    text.truncate(MAX_BYTES);
    Some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_many_reasons_the_first_are_said_and_the_others_are_counted() {
        let many: Vec<String> = (0..10_000).map(|block| format!("block {block:06} cannot be read")).collect();
        assert_eq!(reasons(many[..100].to_vec()), many[..100]);
        let said = reasons(many.clone());
        let fit = MAX_MESSAGE_BYTES / many[0].len();
        assert_eq!(said[..fit], many[..fit]);
        assert_eq!(said[fit..], [format!("and {} more reasons", 10_000 - fit)]);
    }
}
