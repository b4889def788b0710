use std::io::Write;

use flate2::{
    Compression,
    write::{DeflateEncoder, GzEncoder, ZlibEncoder},
};

use super::*;

fn gzip(raw: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(raw).unwrap();
    encoder.finish().unwrap()
}

fn zlib(raw: &[u8]) -> Vec<u8> {
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(raw).unwrap();
    encoder.finish().unwrap()
}

fn raw_deflate(raw: &[u8]) -> Vec<u8> {
    let mut encoder = DeflateEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(raw).unwrap();
    encoder.finish().unwrap()
}

/// A frame that says how much it holds.
fn zstd_sized(raw: &[u8]) -> Vec<u8> {
    let mut compressor = zstd::bulk::Compressor::new(3).unwrap();
    compressor.include_checksum(true).unwrap();
    compressor.compress(raw).unwrap()
}

/// A frame that does not.
fn zstd_stream(raw: &[u8]) -> Vec<u8> {
    let mut encoder = zstd::Encoder::new(Vec::new(), 3).unwrap();
    encoder.include_checksum(true).unwrap();
    // What is written before the end is not known to be all.
    encoder.write_all(raw).unwrap();
    encoder.flush().unwrap();
    encoder.finish().unwrap()
}

type Compress = fn(&[u8]) -> Vec<u8>;
const ALL: [(&str, Encoding, Compress); 5] = [
    ("gzip", Encoding::Gzip, gzip),
    ("zlib", Encoding::Deflate, zlib),
    ("raw deflate", Encoding::Deflate, raw_deflate),
    ("zstd", Encoding::Zstd, zstd_sized),
    ("zstd stream", Encoding::Zstd, zstd_stream),
];

/// Text that compresses as spans do.
fn text(bytes: usize) -> Vec<u8> {
    let mut text: Vec<u8> = (0u64..)
        .flat_map(|at| format!("service-{} took {} ms;", at % 7, at * at % 1013).into_bytes())
        .take(bytes)
        .collect();
    text.truncate(bytes);
    text
}

fn is_corrupt(result: Result<Vec<u8>, InflateError>) -> bool {
    matches!(result, Err(InflateError::Corrupt { .. }))
}

#[test]
fn what_was_compressed_comes_back_up_to_the_limit_and_not_over_it() {
    for (name, encoding, compress) in ALL {
        for bytes in [0, 1, 100, 4095, 4096, 4097, 100_000, 3_000_000] {
            let raw = text(bytes);
            let body = compress(&raw);
            assert_eq!(inflate(encoding, &body, bytes).as_ref(), Ok(&raw), "{name}, {bytes} bytes");
            assert_eq!(inflate(encoding, &body, usize::MAX).as_ref(), Ok(&raw), "{name}, {bytes} bytes");
            if bytes > 0 {
                let error = InflateError::TooLarge { max: bytes - 1 };
                assert_eq!(inflate(encoding, &body, bytes - 1), Err(error), "{name}, {bytes} bytes");
            }
        }
    }
    assert_eq!(inflate(Encoding::Identity, b"abc", 3), Ok(b"abc".to_vec()));
    assert_eq!(inflate(Encoding::Identity, b"abc", 2), Err(InflateError::TooLarge { max: 2 }));
}

#[test]
fn a_bomb_is_stopped_at_the_limit() {
    let zeros = vec![0; 64 << 20];
    for (name, encoding, compress) in ALL {
        let body = compress(&zeros);
        assert!(body.len() < 100_000, "{name}: {}", body.len());
        let mut out = Growing { bytes: Vec::new(), max: 1 << 20 };
        let stop = match encoding {
            Encoding::Gzip => super::gzip(&body, &mut out),
            Encoding::Deflate => deflate(&body, &mut out),
            _ => Inflater::default().zstd(&body, &mut out),
        };
        assert!(matches!(stop, Err(Stop::Full)), "{name}");
        assert!(out.bytes.capacity() <= (1 << 20) + 1, "{name}: {}", out.bytes.capacity());
    }
}

#[test]
fn a_frame_that_claims_too_much_is_refused() {
    // Magic, a single segment with a content size of eight bytes, 2^60; then one empty, last block.
    let claim = [&[0x28, 0xB5, 0x2F, 0xFD, 0xE0][..], &(1u64 << 60).to_le_bytes(), &[1, 0, 0]].concat();
    assert_eq!(inflate(Encoding::Zstd, &claim, 1 << 20), Err(InflateError::TooLarge { max: 1 << 20 }));
    // Within the limit, but not what comes.
    let claim = [&[0x28, 0xB5, 0x2F, 0xFD, 0xE0][..], &(1u64 << 20).to_le_bytes(), &[1, 0, 0]].concat();
    assert!(is_corrupt(inflate(Encoding::Zstd, &claim, 1 << 20)));
    // A window of 2 GiB.
    let window = [0x28, 0xB5, 0x2F, 0xFD, 0x00, 21 << 3, 1, 0, 0];
    assert!(is_corrupt(inflate(Encoding::Zstd, &window, 1 << 20)));
    // The same with one of 128 MiB.
    let window = [0x28, 0xB5, 0x2F, 0xFD, 0x00, 17 << 3, 1, 0, 0];
    assert_eq!(inflate(Encoding::Zstd, &window, 1 << 20), Ok(vec![]));
}

#[test]
fn a_body_that_is_cut_short_anywhere_is_corrupt() {
    for (name, encoding, compress) in ALL {
        let body = compress(&text(2000));
        for end in 0..body.len() {
            let result = inflate(encoding, &body[..end], 1 << 20);
            assert!(is_corrupt(result.clone()), "{name}, {end} of {}: {result:?}", body.len());
        }
    }
}

#[test]
fn a_flipped_bit_is_never_taken_for_the_truth() {
    let raw = text(2000);
    // Raw deflate has no checksum.
    for (name, encoding, compress) in ALL.into_iter().filter(|(name, ..)| *name != "raw deflate") {
        let body = compress(&raw);
        for bit in 0..body.len() * 8 {
            let mut body = body.clone();
            body[bit / 8] ^= 1 << (bit % 8);
            if let Ok(result) = inflate(encoding, &body, 1 << 20) {
                assert_eq!(result, raw, "{name}, bit {bit}");
            }
        }
    }
}

#[test]
fn what_follows_the_end_is_corrupt() {
    for (name, encoding, compress) in ALL {
        for tail in [&b"x"[..], b"\0", b"garbage that is longer than a header"] {
            let body = [&compress(&text(500))[..], tail].concat();
            assert!(is_corrupt(inflate(encoding, &body, 1 << 20)), "{name}");
        }
    }
}

#[test]
fn members_and_frames_one_after_the_other_count_as_one() {
    let (first, second) = (text(5000), text(300));
    let both = [&first[..], &second].concat();
    let gzipped = [gzip(&first), gzip(&[]), gzip(&second)].concat();
    assert_eq!(inflate(Encoding::Gzip, &gzipped, both.len()).as_ref(), Ok(&both));
    assert_eq!(inflate(Encoding::Gzip, &gzipped, both.len() - 1), Err(InflateError::TooLarge { max: both.len() - 1 }));
    let skippable = [0x53, 0x2A, 0x4D, 0x18, 3, 0, 0, 0, 1, 2, 3];
    for (a, b) in
        [(zstd_sized as Compress, zstd_sized as Compress), (zstd_sized, zstd_stream), (zstd_stream, zstd_stream)]
    {
        let frames = [&a(&first)[..], &skippable, &b(&second)].concat();
        assert_eq!(inflate(Encoding::Zstd, &frames, both.len()).as_ref(), Ok(&both));
        assert_eq!(
            inflate(Encoding::Zstd, &frames, both.len() - 1),
            Err(InflateError::TooLarge { max: both.len() - 1 })
        );
    }
}

#[test]
fn an_inflater_can_be_used_again_after_an_error() {
    let mut inflater = Inflater::default();
    let raw = text(50_000);
    for (_, encoding, compress) in ALL {
        let body = compress(&raw);
        assert!(inflater.inflate(encoding, &body[..body.len() / 2], 1 << 20).is_err());
        assert!(inflater.inflate(encoding, &body, 10).is_err());
        assert_eq!(inflater.inflate(encoding, &body, 1 << 20).as_ref(), Ok(&raw));
    }
}

#[test]
fn errors_say_what_was_wrong() {
    let error = inflate(Encoding::Zstd, b"not zstd at all", 100).unwrap_err().to_string();
    assert!(error.starts_with("the zstd body is corrupt: "), "{error}");
    let error = inflate(Encoding::Gzip, &gzip(&text(5000)), 100).unwrap_err().to_string();
    assert_eq!(error, "more than 100 bytes after decompression, which is the limit");
}

#[test]
fn encodings_have_the_names_of_http_and_grpc() {
    for encoding in [Encoding::Identity, Encoding::Gzip, Encoding::Deflate, Encoding::Zstd] {
        assert_eq!(Encoding::parse(encoding.name()), Some(encoding));
    }
    assert_eq!(Encoding::parse(" GZip "), Some(Encoding::Gzip));
    assert_eq!(Encoding::parse("x-gzip"), Some(Encoding::Gzip));
    for unknown in ["", "br", "gzip, zstd"] {
        assert_eq!(Encoding::parse(unknown), None);
    }
}
