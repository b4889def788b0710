//! Says beside an answer why something may be missing from it.

use http::{HeaderMap, HeaderValue};
use tonic::metadata::MetadataMap;

/// The name of the header, and of the key in gRPC's response metadata.
const PARTIAL: &str = "x-clew-partial";
/// No header is longer: clients have limits for them.
const MAX_BYTES: usize = 1024;

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
