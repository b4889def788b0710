//! On the real disk, with real threads.

use std::time::{Duration, Instant};

use super::*;

fn real_options(dir: &Path) -> Options {
    Options { segment_bytes: 1 << 20, max_record_bytes: 1 << 20, ..Options::new(dir.join("a/b"), 256 << 20) }
}

fn open_real(options: Options) -> Result<Log, OpenError> {
    Log::open(Arc::new(RealDisk), options, Work::Threads)
}

#[tokio::test]
async fn a_real_log_keeps_its_records_through_restarts() {
    let dir = tempfile::tempdir().unwrap();
    let mut payloads = Vec::new();
    for round in 0..3 {
        let log = open_real(real_options(dir.path())).unwrap();
        assert_eq!(log.recovery.records, payloads.len() as u64);
        assert_eq!((log.recovery.damaged_ranges, log.recovery.torn_bytes), (0, 0));
        let group: Vec<Bytes> = (0..60).map(|tag| payload(round * 100 + tag, tag as usize * 1000)).collect();
        for outcome in append_together(&log, &group).await {
            outcome.unwrap();
        }
        payloads.extend(group);
        assert_eq!(seqs_and_payloads(&read_from(&log, 0)), numbered(1, &payloads));
        log.appender.close().await;
    }
    let log = open_real(real_options(dir.path())).unwrap();
    log.appender.free_before(u64::MAX);
    log.appender.close().await;
    assert_eq!(stat(&log, |stats| &stats.segments), 1);
}

#[tokio::test]
async fn a_real_folder_is_open_in_one_place_at_a_time() {
    let dir = tempfile::tempdir().unwrap();
    let log = open_real(real_options(dir.path())).unwrap();
    assert!(matches!(open_real(real_options(dir.path())), Err(OpenError::Locked { .. })));
    log.appender.close().await;
    open_real(real_options(dir.path())).unwrap();
}

#[tokio::test]
async fn a_log_is_closed_when_its_last_appender_goes() {
    let dir = tempfile::tempdir().unwrap();
    drop(open_real(real_options(dir.path())).unwrap());
    let patience = Instant::now() + Duration::from_secs(10);
    while let Err(error) = open_real(real_options(dir.path())) {
        assert!(Instant::now() < patience, "{error}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn segments_are_preallocated_on_a_real_disk() {
    use std::os::unix::fs::MetadataExt;
    let dir = tempfile::tempdir().unwrap();
    let _log = open_real(real_options(dir.path())).unwrap();
    let file = std::fs::metadata(real_options(dir.path()).dir.join(file_name(1))).unwrap();
    assert_eq!(file.len(), 1 << 20);
    assert!(file.blocks() * 512 >= 1 << 20, "{} blocks", file.blocks());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn readers_follow_while_many_append_and_segments_are_freed() {
    let dir = tempfile::tempdir().unwrap();
    let log = Arc::new(open_real(real_options(dir.path())).unwrap());
    let senders: Vec<_> = (0..8)
        .map(|sender| {
            let log = Arc::clone(&log);
            tokio::spawn(async move {
                for round in 0..100 {
                    append(&log, &payload(sender * 1000 + round, 5000)).await.unwrap();
                }
            })
        })
        .collect();
    let follower = {
        let log = Arc::clone(&log);
        tokio::task::spawn_blocking(move || {
            let mut cursor = log.reader.cursor(0);
            let mut next = 1;
            while next <= 800 {
                for entry in log.reader.next(&mut cursor, 100_000).unwrap() {
                    assert_eq!(entry.seq, next);
                    let tag = u64::from_le_bytes(entry.payload[..8].try_into().unwrap());
                    assert_eq!(entry.payload, payload(tag, 5000));
                    next += 1;
                }
                log.appender.free_before(next);
            }
        })
    };
    for sender in senders {
        sender.await.unwrap();
    }
    follower.await.unwrap();
    log.appender.close().await;
    assert!(stat(&log, |stats| &stats.freed_segments) >= 3);
}

/// A look at the speed, with no limit on it: one group of 60 KiB at a time, then many at once.
#[tokio::test]
async fn how_fast_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let options = Options { segment_bytes: 64 << 20, ..Options::new(dir.path(), 1 << 30) };
    let log = open_real(options).unwrap();
    let bytes = payload(1, 60 << 10);
    let rounds = 200;
    let started = Instant::now();
    for _ in 0..rounds {
        append(&log, &bytes).await.unwrap();
    }
    let one_by_one = started.elapsed() / rounds;

    let disk: Arc<dyn Disk> = Arc::new(RealDisk);
    let file = disk.create(&dir.path().join("bare"), 64 << 20).unwrap();
    let started = Instant::now();
    for round in 0..u64::from(rounds) {
        file.write_all_at(&[&bytes], round * (60 << 10)).unwrap();
        file.sync_data().unwrap();
    }
    let bare = started.elapsed() / rounds;

    let groups = stat(&log, |stats| &stats.synced_groups);
    let started = Instant::now();
    for outcome in append_together(&log, &vec![payload(2, 1000); 100_000]).await {
        outcome.unwrap();
    }
    let took = started.elapsed();
    let groups = stat(&log, |stats| &stats.synced_groups) - groups;
    eprintln!(
        "60 KiB alone: {one_by_one:?} (bare write and fdatasync {bare:?}); \
         100,000 of 1,000 bytes at once: {took:?} in {groups} groups"
    );
    assert_eq!(stat(&log, |stats| &stats.appended_records), u64::from(rounds) + 100_000);
}
