use rustix::io::Errno;

use super::*;

#[tokio::test]
async fn a_full_disk_refuses_new_segments_and_heals_by_itself() {
    let disk = SimDisk::new();
    let log = open(&disk);
    disk.set_capacity(2048);
    let mut taken = Vec::new();
    let error = loop {
        let bytes = payload(taken.len() as u64, 200);
        match append(&log, &bytes).await {
            Ok(_) => taken.push(bytes),
            Err(error) => break error,
        }
    };
    assert!(matches!(error, AppendError::NoSpace) && error.is_retryable(), "{error}");
    assert_eq!(stat(&log, |stats| &stats.refused_nospace), 1);
    assert!(log.appender.failed().borrow().is_none());
    assert_eq!(seqs_and_payloads(&read_from(&log, 0)), numbered(1, &taken));
    disk.set_capacity(u64::MAX);
    taken.extend(fill(&log, 5, 200).await);
    assert_eq!(seqs_and_payloads(&read_from(&log, 0)).len(), taken.len());
    log.appender.close().await;
    assert_eq!(open(&disk).recovery.records as usize, taken.len());
}

#[tokio::test]
async fn a_disk_that_fills_up_during_a_write_leaves_nothing_half_written() {
    for capacity in (512..12_000).step_by(512) {
        let disk = SimDisk::new();
        disk.set_preallocation(false);
        disk.set_capacity(capacity);
        let log = open(&disk);
        let mut taken = Vec::new();
        for round in 0..30 {
            let group: Vec<Bytes> = (0..round % 4 + 1).map(|at| payload(round * 10 + at, 150)).collect();
            for (outcome, payload) in append_together(&log, &group).await.into_iter().zip(group) {
                match outcome {
                    Ok(appended) => taken.push((appended.seq, payload)),
                    Err(error) => assert!(matches!(error, AppendError::NoSpace), "{error}"),
                }
            }
            if round == 20 {
                disk.set_capacity(u64::MAX);
            }
        }
        assert!(taken.len() > 20, "capacity {capacity}: {}", taken.len());
        assert_eq!(seqs_and_payloads(&read_from(&log, 0)), taken, "capacity {capacity}");
        disk.crash(capacity);
        let log = open(&disk);
        assert_eq!(seqs_and_payloads(&read_from(&log, 0)), taken, "capacity {capacity}");
        assert_eq!((log.recovery.damaged_ranges, log.recovery.torn_bytes), (0, 0), "capacity {capacity}");
    }
}

#[tokio::test]
async fn records_refused_for_want_of_space_never_come_back() {
    for seed in 0..40 {
        let disk = SimDisk::new();
        disk.set_preallocation(false);
        disk.set_capacity(1536);
        let log = open_with(&disk, Options { segment_bytes: 8192, ..options() });
        // Whole records of this group fit on the disk before it is full.
        let refused: Vec<Bytes> = (100..120).map(|tag| payload(tag, 100)).collect();
        let outcomes = append_together(&log, &refused).await;
        assert!(outcomes.iter().all(|outcome| matches!(outcome, Err(AppendError::NoSpace))));
        disk.set_capacity(u64::MAX);
        let mut kept = Vec::new();
        if seed % 2 == 0 {
            kept.push((1, payload(1, 100)));
            assert_eq!(append(&log, &kept[0].1).await.unwrap().seq, 1);
        }
        disk.crash(seed);
        assert_eq!(seqs_and_payloads(&read_from(&open(&disk), 0)), kept, "seed {seed}");
    }
}

#[tokio::test]
async fn a_log_opens_on_a_full_disk_and_takes_records_once_there_is_space() {
    let disk = SimDisk::new();
    disk.set_capacity(0);
    let log = open(&disk);
    assert!(matches!(append(&log, &payload(1, 10)).await, Err(AppendError::NoSpace)));
    assert!(read_from(&log, 0).is_empty());
    disk.set_capacity(u64::MAX);
    assert_eq!(append(&log, &payload(1, 10)).await.unwrap().seq, 1);
    assert_eq!(read_from(&log, 0).len(), 1);
}

#[tokio::test]
async fn want_of_descriptors_is_a_retryable_refusal() {
    let disk = SimDisk::new();
    let log = open(&disk);
    fill(&log, 4, 200).await;
    disk.fail_create_at(1, Errno::MFILE);
    let error = append(&log, &payload(5, 200)).await.unwrap_err();
    assert!(matches!(error, AppendError::Unavailable(_)) && error.is_retryable(), "{error}");
    assert_eq!(append(&log, &payload(5, 200)).await.unwrap().seq, 5);
}

#[tokio::test]
async fn a_failed_sync_is_fatal_and_never_tried_again() {
    let disk = SimDisk::new();
    let log = open(&disk);
    let kept = fill(&log, 2, 50).await;
    let mut failed = log.appender.failed();
    assert!(failed.borrow_and_update().is_none());
    disk.fail_sync_at(1);
    let (syncs, writes) = (disk.file_syncs(), disk.writes());
    let pending = [3, 4].map(|tag| log.appender.append(record(&payload(tag, 50))));
    for outcome in join_all(pending).await {
        let error = outcome.unwrap_err();
        assert!(matches!(error, AppendError::Failed(_)) && !error.is_retryable());
        assert_eq!(
            error.to_string(),
            "the log has failed: cannot sync /log/00000000000000000001.seg: Input/output error (os error 5)"
        );
    }
    assert!(failed.has_changed().unwrap() && failed.borrow().is_some());
    for tag in 0..10 {
        assert!(matches!(append(&log, &payload(tag, 200)).await, Err(AppendError::Failed(_))));
        log.appender.free_before(100);
    }
    log.appender.close().await;
    assert_eq!((disk.file_syncs() - syncs, disk.writes() - writes), (1, 1));
    assert_eq!(seqs_and_payloads(&read_from(&log, 0)), numbered(1, &kept));
}

#[tokio::test]
async fn after_a_failed_sync_the_next_process_does_not_take_lost_records_for_durable() {
    let disk = SimDisk::new();
    let log = open(&disk);
    let kept = fill(&log, 2, 50).await;
    disk.fail_sync_at(1);
    append(&log, &payload(3, 50)).await.unwrap_err();
    log.appender.close().await;
    disk.kill();
    // The system still shows the bytes of the third record, had they not been cut; the disk never got them.
    let log = open(&disk);
    let shown = read_from(&log, 0);
    assert_eq!(seqs_and_payloads(&shown), numbered(1, &kept));
    let next = append(&log, &payload(4, 50)).await.unwrap();
    disk.crash(1);
    let log = open(&disk);
    assert_eq!(seqs_and_payloads(&read_from(&log, 0))[2], (next.seq, payload(4, 50)));
}

#[tokio::test]
async fn an_error_of_a_write_is_fatal() {
    let disk = SimDisk::new();
    let log = open(&disk);
    let kept = fill(&log, 2, 50).await;
    disk.fail_write_at(1);
    for _ in 0..2 {
        let error = append(&log, &payload(3, 50)).await.unwrap_err();
        assert!(matches!(&error, AppendError::Failed(failure) if failure.doing == "write to"), "{error}");
    }
    assert_eq!(seqs_and_payloads(&read_from(&log, 0)), numbered(1, &kept));
}

#[tokio::test]
async fn an_error_anywhere_in_making_a_segment_acks_nothing_that_is_lost() {
    for at in 1..8 {
        let disk = SimDisk::new();
        let log = open(&disk);
        let mut acked = numbered(1, &fill(&log, 4, 200).await);
        disk.fail_sync_at(at);
        for tag in 5..10 {
            let payload = payload(tag, 200);
            if let Ok(appended) = append(&log, &payload).await {
                acked.push((appended.seq, payload));
            }
        }
        assert_eq!(log.appender.failed().borrow().is_some(), acked.len() < 9);
        disk.crash(at);
        let log = open(&disk);
        let read = seqs_and_payloads(&read_from(&log, 0));
        assert_eq!(read[..acked.len()], acked, "sync {at}");
        assert!(append(&log, &payload(77, 10)).await.unwrap().seq > acked.len() as u64);
    }
}

#[tokio::test]
async fn a_read_only_file_system_is_named() {
    let disk = SimDisk::new();
    let log = open(&disk);
    disk.set_read_only(true);
    let error = append(&log, &payload(1, 10)).await.unwrap_err();
    assert!(error.to_string().ends_with("Read-only file system (os error 30)"), "{error}");
    log.appender.close().await;
    let error = try_open(&disk, options()).err().unwrap();
    assert_eq!(error.to_string(), "cannot lock /log/lock: Read-only file system (os error 30)");
}
