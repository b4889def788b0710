//! Compressed bodies that are bombs, broken or of an unknown kind.

use std::{io::Write, time::Duration};

use anyhow::Result;
use bytes::Bytes;
use flate2::{Compress, Compression, FlushCompress, write::GzEncoder};
use prost::Message;
use tonic::Code;

use crate::support::{Door, MAX_REQUEST_BYTES, Pair, grpc, grpc::Call, http, spans};

/// Each piece of a bomb inflates to this much, and there are enough of them for 10 GB.
const PIECE_BYTES: usize = 100_000_000;
const PIECES: usize = 100;

/// Requests, the largest group on its way to the disk with its compressed form, and what a body takes while it grows.
const MAX_RESIDENT_BYTES: u64 = (128 + 2 * 64 + 64) << 20;

fn zeros() -> Vec<u8> {
    vec![0; PIECE_BYTES]
}

fn gzip(bytes: &[u8]) -> Result<Vec<u8>> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes)?;
    Ok(encoder.finish()?)
}

/// One zlib stream whose blocks repeat.
fn deflate_bomb() -> Result<Vec<u8>> {
    let mut piece = Vec::with_capacity(PIECE_BYTES / 100);
    Compress::new(Compression::fast(), false).compress_vec(&zeros(), &mut piece, FlushCompress::Full)?;
    let mut bomb = vec![0x78, 0x01];
    bomb.extend(piece.repeat(PIECES));
    Ok(bomb)
}

/// Frames that say how much they hold.
fn zstd_bomb() -> Result<Vec<u8>> {
    Ok(zstd::bulk::compress(&zeros(), 1)?.repeat(PIECES))
}

/// One frame that does not, with the largest window.
fn zstd_stream_bomb() -> Result<Vec<u8>> {
    let mut encoder = zstd::stream::Encoder::new(Vec::new(), 1)?;
    encoder.include_contentsize(false)?;
    encoder.window_log(27)?;
    encoder.write_all(&zeros())?;
    encoder.write_all(&zeros())?;
    Ok(encoder.finish()?)
}

/// A frame header that claims 2^63 bytes, and no more.
fn zstd_liar() -> Vec<u8> {
    let mut frame = vec![0x28, 0xB5, 0x2F, 0xFD, 0b1100_0000, 0x00];
    frame.extend((1u64 << 63).to_le_bytes());
    frame.extend([0x01, 0x00, 0x00]);
    frame
}

fn bombs() -> Result<Vec<(&'static str, Bytes)>> {
    Ok(vec![
        ("gzip", gzip(&zeros())?.repeat(PIECES).into()),
        ("deflate", deflate_bomb()?.into()),
        ("zstd", zstd_bomb()?.into()),
        ("zstd", zstd_stream_bomb()?.into()),
        ("zstd", zstd_liar().into()),
    ])
}

/// Sends a bomb each way until the answer is final: several at once may be more than there is memory to try them in.
async fn throw(door: Door, encoding: &'static str, bomb: Bytes) -> Result<()> {
    let limit = MAX_REQUEST_BYTES.to_string();
    let pause = Duration::from_millis(100);
    loop {
        let answer = grpc::call(door.grpc, Call::compressed(encoding, bomb.clone())).await?;
        if answer.retry_after.is_none() {
            answer.refused(Code::ResourceExhausted, &limit)?;
            break;
        }
        tokio::time::sleep(pause).await;
    }
    for content_type in ["application/x-protobuf", "application/json"] {
        let headers = [("content-type", content_type), ("content-encoding", encoding)];
        loop {
            let answer = http::post(door.http, &headers, bomb.clone()).await?;
            if answer.retry_after.is_none() {
                answer.refused(413, &limit)?;
                break;
            }
            tokio::time::sleep(pause).await;
        }
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_compression_bomb_is_stopped_at_the_size_limit() -> Result<()> {
    let pair = Pair::start(&[], &[])?;
    let bombs = bombs()?;
    for door in pair.doors() {
        let before = door.refused("too_large");
        let mut thrown = tokio::task::JoinSet::new();
        for (encoding, bomb) in &bombs {
            let (encoding, bomb) = (*encoding, bomb.clone());
            thrown.spawn(async move { throw(door, encoding, bomb).await });
        }
        for result in thrown.join_all().await {
            result?;
        }
        assert_eq!(door.refused("too_large") - before, 3 * bombs.len() as u64, "{}", door.name);
    }
    pair.agent_door().stayed_within(MAX_RESIDENT_BYTES)?;
    pair.collector_door().stayed_within(MAX_RESIDENT_BYTES + (128 << 20))?;
    pair.still_serves().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_truncated_or_corrupt_body_is_refused_for_good_with_what_is_wrong() -> Result<()> {
    let pair = Pair::start(&[], &[])?;
    let request = spans::request((0..100).map(|_| spans::span(spans::id()))).encode_to_vec();
    let mut deflated = flate2::write::ZlibEncoder::new(Vec::new(), Compression::fast());
    deflated.write_all(&request)?;
    let good = [
        ("gzip", gzip(&request)?),
        ("deflate", deflated.finish()?),
        ("zstd", zstd::stream::encode_all(&request[..], 1)?),
    ];
    for door in pair.doors() {
        let mut refused = 0;
        let before = door.refused("invalid");
        for (encoding, good) in &good {
            let truncated = good[..good.len() / 2].to_vec();
            let mut corrupt = good.clone();
            corrupt[good.len() / 2..].iter_mut().for_each(|byte| *byte ^= 0xFF);
            let trailing = [&good[..], &b"something else follows"[..]].concat();
            for body in [truncated, corrupt, trailing, b"not compressed at all".to_vec(), Vec::new()] {
                let call = Call::compressed(encoding, body.clone());
                grpc::call(door.grpc, call).await?.refused(Code::InvalidArgument, encoding)?;
                let headers = [("content-type", "application/x-protobuf"), ("content-encoding", *encoding)];
                http::post(door.http, &headers, body).await?.refused(400, encoding)?;
                refused += 2;
            }
            grpc::call(door.grpc, Call::compressed(encoding, good.clone())).await?.accepted()?;
        }
        assert_eq!(door.refused("invalid") - before, refused, "{}", door.name);
    }
    pair.still_serves().await
}

#[tokio::test(flavor = "multi_thread")]
async fn unknown_compressions_and_content_types_are_named() -> Result<()> {
    let pair = Pair::start(&[], &[])?;
    let request = spans::request([spans::span(spans::id())]).encode_to_vec();
    for door in pair.doors() {
        let answer = grpc::call(door.grpc, Call::compressed("snappy", request.clone())).await?;
        let accepted = answer.headers.get("grpc-accept-encoding").and_then(|names| names.to_str().ok());
        assert_eq!(accepted, Some("identity,gzip,deflate,zstd"));
        answer.refused(Code::Unimplemented, "snappy")?;

        // Marked as compressed, and no compression is named; a flag that gRPC does not have.
        let marked = Call { compressed: 1, ..Call::plain(request.clone()) };
        grpc::call(door.grpc, marked).await?.refused(Code::InvalidArgument, "grpc-encoding")?;
        let odd = Call { compressed: 7, ..Call::plain(request.clone()) };
        grpc::call(door.grpc, odd).await?.refused(Code::InvalidArgument, "flag")?;

        let not_grpc = Call::plain(request.clone()).with("content-type", "application/json");
        assert_eq!(grpc::call(door.grpc, not_grpc).await?.http, 415);

        let headers = [("content-type", "application/x-protobuf"), ("content-encoding", "br")];
        http::post(door.http, &headers, request.clone()).await?.refused(415, "br")?;
        for content_type in ["text/plain", "application/grpc", "", "application/x-protobufs"] {
            http::post(door.http, &[("content-type", content_type)], request.clone())
                .await?
                .refused(415, content_type)?;
        }
        http::post(door.http, &[], request.clone()).await?.refused(415, "content type")?;

        assert_eq!(door.refused("unknown_compression"), 2, "{}", door.name);
        assert_eq!(door.refused("unknown_content_type"), 6, "{}", door.name);
        assert_eq!(door.refused("invalid"), 2, "{}", door.name);
    }
    pair.still_serves().await
}
