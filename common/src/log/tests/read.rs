use super::*;

fn starts(log: &Log, from: u64, bytes: usize) -> Vec<Start> {
    let mut cursor = log.reader.cursor(from);
    std::iter::from_fn(|| log.reader.next_start(&mut cursor, bytes).unwrap()).collect()
}

#[tokio::test]
async fn a_cursor_starts_at_any_number() {
    let disk = SimDisk::new();
    let log = open(&disk);
    let payloads = fill(&log, 20, 150).await;
    for from in 0..25 {
        let first = from.max(1);
        let expected = numbered(first, payloads.get(first as usize - 1..).unwrap_or_default());
        assert_eq!(seqs_and_payloads(&read_from(&log, from)), expected, "from {from}");
    }
}

#[tokio::test]
async fn a_read_gives_about_what_was_asked_for_and_at_least_one() {
    let disk = SimDisk::new();
    let log = open_with(&disk, Options { segment_bytes: 1 << 16, ..options() });
    let payloads = fill(&log, 30, 1000).await;
    for (max_bytes, expected) in [(0, 1), (1, 1), (1017, 1), (2033, 1), (2034, 2), (10_500, 10), (1 << 20, 30)] {
        let mut cursor = log.reader.cursor(1);
        let entries = log.reader.next(&mut cursor, max_bytes).unwrap();
        assert_eq!(seqs_and_payloads(&entries), numbered(1, &payloads[..expected]), "{max_bytes}");
        assert_eq!(cursor.seq(), expected as u64 + 1);
    }
}

#[tokio::test]
async fn a_cursor_at_the_end_sees_what_is_appended_later() {
    let disk = SimDisk::new();
    let log = open(&disk);
    let mut cursor = log.reader.cursor(0);
    for round in 0..30 {
        assert!(log.reader.next(&mut cursor, 1000).unwrap().is_empty());
        let bytes = payload(round, 200);
        append(&log, &bytes).await.unwrap();
        let entries = log.reader.next(&mut cursor, 1000).unwrap();
        assert_eq!(seqs_and_payloads(&entries), [(round + 1, bytes)]);
    }
}

#[tokio::test]
async fn a_cursor_in_the_future_waits_for_its_record() {
    let disk = SimDisk::new();
    let log = open(&disk);
    let mut cursor = log.reader.cursor(5);
    for round in 1..8 {
        append(&log, &payload(round, 200)).await.unwrap();
        let entries = log.reader.next(&mut cursor, 1000).unwrap();
        assert_eq!(entries.len(), usize::from(round >= 5), "round {round}");
    }
}

#[tokio::test]
async fn what_is_not_synced_is_not_read() {
    let disk = SimDisk::new();
    let log = open(&disk);
    append(&log, &payload(1, 50)).await.unwrap();
    let second = log.appender.append(record(&payload(2, 50)));
    tokio::task::yield_now().await;
    assert_eq!(disk.writes(), 3, "the second record is written by now");
    assert_eq!(read_from(&log, 0).len(), 1);
    assert_eq!(starts(&log, 0, 8).len(), 1);
    second.await.unwrap();
    assert_eq!(read_from(&log, 0).len(), 2);
}

#[tokio::test]
async fn starts_of_records_are_read_without_the_rest() {
    let disk = SimDisk::new();
    let log = open_with(&disk, Options { segment_bytes: 1 << 16, max_bytes: 4 << 20, ..options() });
    let payloads: Vec<Bytes> = (0..300).map(|tag| payload(tag, [0, 5, 40, 3000, 20_000][tag as usize % 5])).collect();
    for outcome in append_together(&log, &payloads).await {
        outcome.unwrap();
    }
    for from in [0, 7, 150, 299, 301] {
        let starts = starts(&log, from, 32);
        let expected = numbered(from.max(1), &payloads[from.saturating_sub(1).min(300) as usize..]);
        assert_eq!(starts.len(), expected.len());
        for (start, (seq, payload)) in starts.iter().zip(expected) {
            assert_eq!((start.seq, &start.start[..]), (seq, &payload[..payload.len().min(32)]));
            assert_eq!((start.kind, start.position.len), (payload.len() as u8, payload.len() as u32));
            assert_eq!(log.reader.load(start.position).unwrap().payload, payload);
        }
    }
}

#[tokio::test]
async fn a_cursor_goes_on_behind_what_was_freed_or_evicted() {
    let disk = SimDisk::new();
    let log = open(&disk);
    fill(&log, 20, 200).await;
    let mut cursor = log.reader.cursor(1);
    let position = log.reader.next(&mut cursor, 250).unwrap()[0].position;
    log.appender.free_before(10);
    fill(&log, 1, 200).await;
    assert_eq!(log.reader.next(&mut cursor, 250).unwrap()[0].seq, 9);
    assert!(matches!(log.reader.load(position), Err(ReadError::Gone { segment: 1 })));
}

#[tokio::test]
async fn a_segment_that_somebody_took_away_is_told_and_does_not_hang_a_reader() {
    let disk = SimDisk::new();
    let log = open(&disk);
    fill(&log, 20, 200).await;
    drop(log);
    disk.kill();
    let log = open(&disk);
    disk.remove(&Path::new(DIR).join(file_name(1))).unwrap();
    let mut cursor = log.reader.cursor(1);
    assert!(matches!(log.reader.next(&mut cursor, 250), Err(ReadError::Gone { segment: 1 })));
}

#[tokio::test]
async fn a_position_that_the_log_never_gave_is_no_record() {
    let disk = SimDisk::new();
    let log = open(&disk);
    let position = append(&log, &payload(1, 50)).await.unwrap().position;
    for wrong in [
        Position { offset: position.offset + 1, ..position },
        Position { offset: 0, ..position },
        Position { len: position.len + 1, ..position },
        Position { len: position.len - 1, ..position },
        Position { len: u32::MAX, ..position },
        Position { offset: u64::MAX - 100, ..position },
    ] {
        assert!(matches!(log.reader.load(wrong), Err(ReadError::Damaged { .. })), "{wrong:?}");
    }
}
