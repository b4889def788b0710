use super::*;

#[tokio::test]
async fn an_acked_record_is_read_at_once_and_after_a_restart() {
    let disk = SimDisk::new();
    let log = open(&disk);
    assert_eq!((log.recovery.first_seq, log.recovery.next_seq), (1, 1));
    let bytes = payload(9, 100);
    let appended = append(&log, &bytes).await.unwrap();
    assert_eq!(appended.seq, 1);
    assert_eq!(*log.reader.committed().borrow(), 2);
    let entries = read_from(&log, 0);
    assert_eq!(seqs_and_payloads(&entries), [(1, bytes.clone())]);
    assert_eq!((entries[0].kind, entries[0].position), (100, appended.position));
    assert_eq!(log.reader.load(appended.position).unwrap(), entries[0]);
    log.appender.close().await;

    let log = open(&disk);
    assert_eq!(read_from(&log, 0), entries);
    assert_eq!((log.recovery.records, log.recovery.weight), (1, 100));
}

#[tokio::test]
async fn records_of_every_size_come_back() {
    let disk = SimDisk::new();
    let log = open(&disk);
    let payloads: Vec<Bytes> = [0, 1, 16, 17, 500, 942, 943, 944, 1024, 5000, 70_000, 3, 0]
        .iter()
        .enumerate()
        .map(|(tag, len)| payload(tag as u64, *len))
        .collect();
    for payload in &payloads[..7] {
        append(&log, payload).await.unwrap();
    }
    for outcome in append_together(&log, &payloads[7..]).await {
        outcome.unwrap();
    }
    assert_eq!(seqs_and_payloads(&read_from(&log, 0)), numbered(1, &payloads));
    log.appender.close().await;
    let log = open(&disk);
    assert_eq!(seqs_and_payloads(&read_from(&log, 0)), numbered(1, &payloads));
    assert_eq!(log.recovery.damaged_ranges, 0);
}

#[tokio::test]
async fn records_appended_together_share_one_write_and_one_sync() {
    let disk = SimDisk::new();
    let log = open_with(&disk, Options { segment_bytes: 1 << 20, max_bytes: 4 << 20, ..options() });
    let (writes, syncs) = (disk.writes(), disk.file_syncs());
    let payloads: Vec<Bytes> = (0..1000).map(|tag| payload(tag, 100)).collect();
    for outcome in append_together(&log, &payloads).await {
        outcome.unwrap();
    }
    assert_eq!((disk.writes() - writes, disk.file_syncs() - syncs), (1, 1));
    assert_eq!(stat(&log, |stats| &stats.synced_groups), 1);
    assert_eq!(stat(&log, |stats| &stats.appended_records), 1000);
    assert_eq!(stat(&log, |stats| &stats.appended_bytes), 100_000);
}

#[tokio::test]
async fn a_group_forms_while_the_last_one_is_synced() {
    let disk = SimDisk::new();
    let log = open(&disk);
    let syncs = disk.file_syncs();
    let first = log.appender.append(record(&payload(1, 10)));
    // The writer has written the first record and not yet synced it.
    tokio::task::yield_now().await;
    let rest = [2, 3, 4].map(|tag| log.appender.append(record(&payload(tag, 10))));
    assert_eq!(first.await.unwrap().seq, 1);
    for (appended, seq) in join_all(rest).await.into_iter().zip(2..) {
        assert_eq!(appended.unwrap().seq, seq);
    }
    assert_eq!(disk.file_syncs() - syncs, 2);
}

#[tokio::test]
async fn a_dropped_future_does_not_take_the_record_back() {
    let disk = SimDisk::new();
    let log = open(&disk);
    drop(log.appender.append(record(&payload(1, 10))));
    append(&log, &payload(2, 10)).await.unwrap();
    assert_eq!(seqs_and_payloads(&read_from(&log, 0)), numbered(1, &[payload(1, 10), payload(2, 10)]));
}

#[tokio::test]
async fn a_record_is_acked_only_when_it_survives_a_power_cut() {
    for seed in 0..50 {
        let disk = SimDisk::new();
        let payloads = {
            let log = open(&disk);
            fill(&log, 9, 200).await
        };
        disk.crash(seed);
        assert_eq!(seqs_and_payloads(&read_from(&open(&disk), 0)), numbered(1, &payloads), "seed {seed}");
    }
}

#[tokio::test]
async fn a_record_over_the_limit_is_refused_for_good() {
    let disk = SimDisk::new();
    let log = open_with(&disk, Options { max_record_bytes: 300, ..options() });
    let error = append(&log, &payload(1, 301)).await.unwrap_err();
    assert!(matches!(error, AppendError::TooLarge { bytes: 301, max: 300 }) && !error.is_retryable());
    append(&log, &payload(1, 300)).await.unwrap();
}

#[tokio::test]
async fn a_record_that_the_budget_can_never_hold_is_refused_for_good() {
    let disk = SimDisk::new();
    let log = open_with(&disk, Options { max_bytes: 4096, when_full: WhenFull::EvictOldest, ..options() });
    let error = append(&log, &payload(1, 3072)).await.unwrap_err();
    assert!(matches!(error, AppendError::TooLarge { .. }), "{error}");
    for tag in 0..5 {
        append(&log, &payload(tag, 2990)).await.unwrap();
    }
}

#[tokio::test]
async fn closing_makes_what_is_queued_durable_and_refuses_what_comes_later() {
    let disk = SimDisk::new();
    let log = open(&disk);
    let queued = [1, 2, 3].map(|tag| log.appender.append(record(&payload(tag, 10))));
    log.appender.close().await;
    let later = append(&log, &payload(4, 10)).await.unwrap_err();
    assert!(matches!(later, AppendError::Closed));
    assert!(join_all(queued).await.iter().all(Result::is_ok));
    assert_eq!(read_from(&log, 0).len(), 3);
    log.appender.close().await;
}

#[tokio::test]
async fn a_folder_is_open_in_one_place_at_a_time() {
    let disk = SimDisk::new();
    let log = open(&disk);
    let error = try_open(&disk, options()).err().unwrap();
    assert!(matches!(&error, OpenError::Locked { dir } if dir == Path::new(DIR)), "{error}");
    assert!(error.to_string().contains("/log is in use: another process"), "{error}");
    log.appender.close().await;
    open(&disk);
}

#[tokio::test]
async fn wrong_options_are_refused_with_the_reason() {
    let wrong = [
        Options { segment_bytes: 10, ..options() },
        Options { max_bytes: 2047, ..options() },
        Options { max_record_bytes: u32::MAX, ..options() },
    ];
    for options in wrong {
        let error = try_open(&SimDisk::new(), options).err().unwrap();
        assert!(matches!(error, OpenError::Options { .. }), "{error}");
    }
}

#[tokio::test]
async fn a_segment_size_may_change_between_runs() {
    let disk = SimDisk::new();
    let mut payloads = Vec::new();
    for segment_bytes in [1024, 8192, 600, 2048] {
        let log = open_with(&disk, Options { segment_bytes, ..options() });
        payloads.extend(fill(&log, 10, 100).await);
        log.appender.close().await;
    }
    let log = open(&disk);
    assert_eq!(seqs_and_payloads(&read_from(&log, 0)), numbered(1, &payloads));
    assert_eq!(log.recovery.damaged_ranges, 0);
}
