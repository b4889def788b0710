use super::*;

#[tokio::test]
async fn segments_go_when_all_their_records_are_free() {
    let disk = SimDisk::new();
    let log = open(&disk);
    let payloads = fill(&log, 20, 200).await;
    assert_eq!(segments(&disk), [1, 5, 9, 13, 17]);
    let used = stat(&log, |stats| &stats.used_bytes);
    log.appender.free_before(12);
    log.appender.close().await;
    assert_eq!(segments(&disk), [9, 13, 17]);
    assert_eq!(log.reader.first_seq(), 9);
    assert!(stat(&log, |stats| &stats.used_bytes) < used);
    assert_eq!(seqs_and_payloads(&read_from(&log, 0)), numbered(9, &payloads[8..]));
    assert_eq!(stat(&log, |stats| &stats.freed_segments), 2);
}

#[tokio::test]
async fn freed_segments_stay_gone_after_a_power_cut() {
    let disk = SimDisk::new();
    let log = open(&disk);
    fill(&log, 20, 200).await;
    log.appender.free_before(17);
    log.appender.close().await;
    for seed in 0..20 {
        disk.crash(seed);
        assert_eq!(segments(&disk), [17]);
    }
}

#[tokio::test]
async fn a_segment_that_was_free_while_it_was_written_goes_when_it_is_left() {
    let disk = SimDisk::new();
    let log = open(&disk);
    fill(&log, 3, 200).await;
    log.appender.free_before(5);
    fill(&log, 1, 200).await;
    assert_eq!(segments(&disk), [1]);
    fill(&log, 1, 200).await;
    assert_eq!(segments(&disk), [5]);
}

#[tokio::test]
async fn numbers_go_on_after_everything_was_freed_and_after_a_restart() {
    let disk = SimDisk::new();
    let log = open(&disk);
    fill(&log, 12, 200).await;
    log.appender.free_before(u64::MAX);
    log.appender.close().await;
    assert_eq!(segments(&disk), [9]);
    for next in 13..20 {
        let log = open(&disk);
        assert_eq!(log.recovery.next_seq, next);
        assert_eq!(append(&log, &payload(1, 200)).await.unwrap().seq, next);
        log.appender.free_before(u64::MAX);
        log.appender.close().await;
    }
}

#[tokio::test]
async fn past_the_budget_appends_are_refused_until_something_is_freed() {
    let disk = SimDisk::new();
    let log = open_with(&disk, Options { max_bytes: 4096, ..options() });
    let mut taken = 0;
    let error = loop {
        match append(&log, &payload(taken, 200)).await {
            Ok(_) => taken += 1,
            Err(error) => break error,
        }
    };
    assert!(matches!(error, AppendError::Full { budget: 4096, .. }) && error.is_retryable(), "{error}");
    assert!(stat(&log, |stats| &stats.used_bytes) <= 4096);
    assert_eq!(stat(&log, |stats| &stats.refused_full), 1);
    assert_eq!(read_from(&log, 0).len() as u64, taken);
    // A group that is refused in its middle keeps its order: nothing behind a refused record is taken.
    let outcomes = append_together(&log, &[payload(1, 200), payload(2, 0)]).await;
    assert!(outcomes.iter().all(|outcome| matches!(outcome, Err(AppendError::Full { .. }))));

    log.appender.free_before(5);
    assert_eq!(append(&log, &payload(99, 200)).await.unwrap().seq, taken + 1);
    assert_eq!(read_from(&log, 0).len() as u64, taken + 1 - 4);
}

#[tokio::test]
async fn past_the_budget_the_oldest_segment_is_evicted_counted_and_told() {
    let disk = SimDisk::new();
    let log = open_with(&disk, Options { max_bytes: 4096, when_full: WhenFull::EvictOldest, ..options() });
    let mut evictions = log.appender.evictions();
    let payloads = fill(&log, 40, 200).await;
    let mut evicted = Vec::new();
    while let Ok(Evicted { records }) = evictions.try_recv() {
        evicted.extend(records);
    }
    let kept = seqs_and_payloads(&read_from(&log, 0));
    let first = kept[0].0;
    assert!(first > 20, "{first}");
    assert_eq!(kept, numbered(first, &payloads[first as usize - 1..]));
    // `weigh` of these tests is the length.
    assert_eq!(evicted, (1..first).map(|seq| (seq, 200)).collect::<Vec<_>>());
    assert_eq!(stat(&log, |stats| &stats.evicted_records), first - 1);
    assert_eq!(stat(&log, |stats| &stats.evicted_weight), (first - 1) * 200);
    assert!(stat(&log, |stats| &stats.used_bytes) <= 4096);
}

#[tokio::test]
async fn evictions_need_no_listener() {
    let disk = SimDisk::new();
    let log = open_with(&disk, Options { max_bytes: 2048, when_full: WhenFull::EvictOldest, ..options() });
    fill(&log, 10, 200).await;
    drop(log.appender.evictions());
    fill(&log, 10, 200).await;
    assert!(stat(&log, |stats| &stats.evicted_records) > 0);
}

#[tokio::test]
async fn a_smaller_budget_than_what_is_there_leaves_a_way_on() {
    let disk = SimDisk::new();
    let log = open(&disk);
    fill(&log, 40, 200).await;
    log.appender.close().await;
    let log = open_with(&disk, Options { max_bytes: 2048, when_full: WhenFull::EvictOldest, ..options() });
    fill(&log, 10, 200).await;
    assert!(stat(&log, |stats| &stats.used_bytes) <= 2048);
}
