//! Attacks by HTTP/2's own means: the connection is closed, or what it does costs others nothing.

use anyhow::Result;
use prost::Message;

use crate::support::{
    Door, Pair,
    frames::{
        CONTINUATION, DATA, END_HEADERS, END_STREAM, ENHANCE_YOUR_CALM, FLOW_CONTROL_ERROR, FRAME_SIZE_ERROR, HEADERS,
        PING, PROTOCOL_ERROR, RST_STREAM, Raw, SETTINGS, Seen, WINDOW_UPDATE, export_headers, frame, header,
    },
    spans,
};

const INITIAL_WINDOW_SIZE: u16 = 4;

/// Runs an attack on each door while good spans come beside it.
async fn attack(
    flags: &[&str],
    attack: impl Fn(Door) -> Result<Seen> + Clone + Send + 'static,
    check: impl Fn(Door, Seen),
) -> Result<()> {
    let pair = Pair::start(flags, flags)?;
    for door in pair.doors() {
        let attack = attack.clone();
        let attacking = tokio::task::spawn_blocking(move || attack(door));
        pair.still_serves().await?;
        check(door, attacking.await??);
        door.stayed_within(96 << 20)?;
    }
    pair.still_serves().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rapid_reset_is_told_to_calm_down() -> Result<()> {
    let rapid = |door: Door| {
        let mut raw = Raw::open(door.grpc, &[])?;
        for batch in 0..1000 {
            let mut bytes = Vec::new();
            for number in 0..100 {
                let stream = 2 * (100 * batch + number) + 1;
                bytes.extend(frame(HEADERS, END_HEADERS, stream, &export_headers()));
                bytes.extend(frame(RST_STREAM, 0, stream, &8u32.to_be_bytes()));
            }
            if raw.send(&bytes).is_err() {
                break;
            }
        }
        Ok(raw.wait(|seen| seen.goaway.is_some()))
    };
    attack(&[], rapid, |door, seen| assert_eq!(seen.goaway, Some(ENHANCE_YOUR_CALM), "{}: {seen:?}", door.name)).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_continuations_closes_the_connection() -> Result<()> {
    for piece in [vec![], header("x-more", &"x".repeat(100)).repeat(100)] {
        let flood = move |door: Door| {
            let mut raw = Raw::open(door.grpc, &[])?;
            raw.send(&frame(HEADERS, 0, 1, &export_headers()))?;
            let sent = raw.flood(100_000, &frame(CONTINUATION, 0, 1, &piece));
            assert!(sent < 100_000, "all were taken");
            Ok(raw.wait(|seen| seen.goaway.is_some()))
        };
        attack(&[], flood, |_, seen| assert!(seen.closed || seen.goaway.is_some(), "{seen:?}")).await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn headers_that_unfold_are_refused_and_not_kept() -> Result<()> {
    let unfold = |door: Door| {
        let mut raw = Raw::open(door.grpc, &[])?;
        // A literal that goes into the table (RFC 7541, section 6.2.1), then its index, 10,000 times: 40 MB of headers.
        let mut block = export_headers();
        block.extend([0x40, 1, b'x', 0x7F, 0xA1, 0x1E]);
        block.extend([b'y'; 4000]);
        block.extend([0xBE; 10_000]);
        for stream in 0..50 {
            // It may be closed before all is sent.
            let _ = raw.send(&frame(HEADERS, END_HEADERS | END_STREAM, 2 * stream + 1, &block));
        }
        Ok(raw.wait(|seen| seen.answered.len() + seen.resets.len() >= 50 || seen.goaway.is_some()))
    };
    let refused = |_, seen: Seen| {
        assert!(seen.closed || seen.goaway.is_some() || seen.answered.len() + seen.resets.len() == 50, "{seen:?}");
    };
    attack(&[], unfold, refused).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_empty_data_costs_little_and_ends() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let settings = dir.path().join("short.toml");
    std::fs::write(&settings, "body_timeout_s = 2\n")?;
    let flood = |door: Door| {
        let mut raw = Raw::open(door.grpc, &[])?;
        raw.send(&frame(HEADERS, END_HEADERS, 1, &export_headers()))?;
        raw.flood(1000, &frame(DATA, 0, 1, &[]).repeat(1000));
        Ok(raw.wait(|seen| !seen.answered.is_empty() || seen.goaway.is_some()))
    };
    let ended = |_, seen: Seen| assert!(seen.closed || seen.goaway.is_some() || seen.answered == [1], "{seen:?}");
    attack(&[&format!("--config={}", settings.display())], flood, ended).await
}

#[tokio::test(flavor = "multi_thread")]
async fn floods_of_pings_settings_and_unknown_frames_harm_nobody() -> Result<()> {
    let flood = |door: Door| {
        let mut seen = Seen::default();
        let unknown = frame(0xFE, 0, 0, b"what is this?");
        let setting = [&INITIAL_WINDOW_SIZE.to_be_bytes()[..], &70_000u32.to_be_bytes()].concat();
        for bytes in [frame(PING, 0, 0, &[7; 8]), frame(SETTINGS, 0, 0, &setting), unknown] {
            let mut raw = Raw::open(door.grpc, &[])?;
            raw.flood(200, &bytes.repeat(1000));
            seen = raw.wait(|_| true);
        }
        Ok(seen)
    };
    attack(&[], flood, |_, _| {}).await
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_windows_and_frames_end_the_connection() -> Result<()> {
    let wrongs = |door: Door| {
        let update = |stream: u32, by: u32| frame(WINDOW_UPDATE, 0, stream, &by.to_be_bytes());
        let too_large_a_window = [&INITIAL_WINDOW_SIZE.to_be_bytes()[..], &u32::MAX.to_be_bytes()].concat();
        let wrongs = [
            (update(0, 0), PROTOCOL_ERROR),
            ([update(0, 0x7FFF_FFFF), update(0, 0x7FFF_FFFF)].concat(), FLOW_CONTROL_ERROR),
            (frame(SETTINGS, 0, 0, &too_large_a_window), PROTOCOL_ERROR),
            (frame(DATA, 0, 0, b"on no stream"), PROTOCOL_ERROR),
            (frame(DATA, 0, 0x7FFF_FFFF, b"on an idle stream"), PROTOCOL_ERROR),
            (frame(DATA, 0, 1, &vec![0; (1 << 20) + 1]), FRAME_SIZE_ERROR),
            (frame(CONTINUATION, END_HEADERS, 1, &[]), PROTOCOL_ERROR),
            (frame(HEADERS, END_HEADERS, 2, &export_headers()), PROTOCOL_ERROR),
        ];
        for (number, (wrong, code)) in wrongs.into_iter().enumerate() {
            let mut raw = Raw::open(door.grpc, &[])?;
            // It may be closed before all is sent.
            let _ = raw.send(&wrong);
            let seen = raw.wait(|seen| seen.goaway.is_some());
            assert_eq!(seen.goaway, Some(code), "number {number}: {seen:?}");
        }
        Ok(Seen::default())
    };
    attack(&[], wrongs, |_, _| {}).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_never_opens_its_window_holds_up_itself_alone() -> Result<()> {
    let pair = Pair::start(&[], &[])?;
    for door in pair.doors() {
        // No byte of an answer may be sent: more streams than are allowed at once, all stored all the same.
        let mut raw = Raw::open(door.grpc, &[(INITIAL_WINDOW_SIZE, 0)])?;
        let traces: Vec<[u8; 16]> = (0..200).map(|_| spans::id()).collect();
        for (number, trace) in traces.iter().enumerate() {
            let stream = 2 * number as u32 + 1;
            let message = spans::request([spans::heavy(*trace, 20_000)]).encode_to_vec();
            let prefixed = [&[0][..], &(message.len() as u32).to_be_bytes(), &message].concat();
            raw.send(&frame(HEADERS, END_HEADERS, stream, &export_headers()))?;
            for piece in prefixed.chunks(16_000) {
                raw.send(&frame(DATA, 0, stream, piece))?;
            }
            raw.send(&frame(DATA, END_STREAM, stream, &[]))?;
        }
        pair.all_found(&traces).await?;
        pair.still_serves().await?;
        door.stayed_within(96 << 20)?;
    }
    pair.still_serves().await
}
