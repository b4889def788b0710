//! Decompression: never over the limit, and the same from a context that was used before. The first byte names the
//! encoding.
#![no_main]

use clew_common::otlp::decompress::{Encoding, Inflater, inflate};
use libfuzzer_sys::fuzz_target;

const MAX_BYTES: usize = 1 << 20;

fuzz_target!(|bytes: &[u8]| {
    let Some((first, body)) = bytes.split_first() else { return };
    let encoding = match first % 3 {
        0 => Encoding::Gzip,
        1 => Encoding::Deflate,
        _ => Encoding::Zstd,
    };
    let fresh = inflate(encoding, body, MAX_BYTES);
    assert!(fresh.as_ref().is_ok_and(|raw| raw.len() <= MAX_BYTES) || fresh.is_err());
    let mut inflater = Inflater::default();
    let _ = inflater.inflate(encoding, &body[..body.len() / 2], MAX_BYTES);
    assert_eq!(inflater.inflate(encoding, body, MAX_BYTES), fresh);
    if let Ok(raw) = fresh
        && let Some(limit) = raw.len().checked_sub(1)
    {
        assert!(inflater.inflate(encoding, body, limit).is_err());
    }
});
