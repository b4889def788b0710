use proptest::prelude::*;

use super::super::quarantine;
use super::super::segment::{HEAD_BYTES, HEADER_BYTES, record_head};
use super::*;

/// A closed log of three segments; gives its records.
async fn closed_log(disk: &SimDisk) -> Vec<(Appended, Bytes)> {
    let log = open(disk);
    let mut records = Vec::new();
    for tag in 1..=10 {
        let payload = payload(tag, 150 + tag as usize * 10);
        records.push((append(&log, &payload).await.unwrap(), payload));
    }
    log.appender.close().await;
    assert_eq!(segments(disk), [1, 5, 9]);
    records
}

fn bytes_of(appended: &Appended) -> std::ops::Range<u64> {
    let start = appended.position.offset;
    start..start + HEAD_BYTES as u64 + u64::from(appended.position.len)
}

fn overwrite(disk: &SimDisk, base: u64, offset: u64, bytes: &[u8]) {
    let file = disk.open(&segment_path(base)).unwrap();
    file.write_all_at(&[bytes], offset).unwrap();
    file.sync_data().unwrap();
}

fn file_len(disk: &SimDisk, path: &Path) -> u64 {
    disk.open(path).unwrap().len().unwrap()
}

fn quarantined(disk: &SimDisk) -> Vec<String> {
    disk.list(&quarantine::folder(Path::new(DIR))).unwrap_or_default()
}

#[tokio::test]
async fn a_flipped_bit_anywhere_costs_no_more_than_the_record_it_is_in() {
    let lens = {
        let disk = SimDisk::new();
        closed_log(&disk).await;
        [1, 5, 9].map(|base| (base, file_len(&disk, &segment_path(base))))
    };
    for (base, len) in lens {
        for byte in 0..len {
            let what = format!("byte {byte} of segment {base}");
            let disk = SimDisk::new();
            let records = closed_log(&disk).await;
            disk.flip(&segment_path(base), byte, (byte * 5) as u8);

            let log = open(&disk);
            let hit = records.iter().find(|(at, _)| at.position.segment == base && bytes_of(at).contains(&byte));
            let others = records.iter().filter(|(at, _)| Some(at.seq) != hit.map(|(hit, _)| hit.seq));
            let expected: Vec<(u64, Bytes)> = others.map(|(at, payload)| (at.seq, payload.clone())).collect();
            assert_eq!(seqs_and_payloads(&read_from(&log, 0)), expected, "{what}");
            for (at, payload) in &records {
                match log.reader.load(at.position) {
                    Ok(entry) => assert!(entry.payload == *payload && entry.seq == at.seq, "{what}"),
                    Err(ReadError::Damaged { .. }) => assert_eq!(hit.map(|(hit, _)| hit.seq), Some(at.seq), "{what}"),
                    Err(error) => panic!("{what}: {error}"),
                }
            }
            let mut cursor = log.reader.cursor(0);
            while log.reader.next_start(&mut cursor, 20).unwrap().is_some() {}
            let noticed = stat(&log, |stats| &stats.damaged_ranges) + log.recovery.torn_bytes;
            assert!(hit.is_none() || noticed > 0, "{what} went unnoticed");
            let damage = log.reader.damage();
            let lost: Vec<u64> = damage.iter().flat_map(|damaged| damaged.seqs.clone()).collect();
            let torn = log.recovery.torn_bytes > 0;
            assert_eq!(lost, Vec::from_iter(hit.map(|(hit, _)| hit.seq).filter(|_| !torn)), "{what}");
            assert!(damage.iter().all(|damaged| damaged.path == segment_path(base)), "{what}: {damage:?}");
            assert!(damage.iter().all(|damaged| (0..damaged.bytes).any(|at| damaged.offset + at == byte)), "{what}");

            let next = append(&log, &payload(77, 30)).await.unwrap().seq;
            assert!(next > 10, "{what}: {next} was used before");
            log.appender.close().await;
            let log = open(&disk);
            let read = seqs_and_payloads(&read_from(&log, 0));
            assert_eq!(read[..expected.len()], expected, "{what}");
            assert_eq!(read[expected.len()..], [(next, payload(77, 30))], "{what}");
        }
    }
}

#[tokio::test]
async fn a_torn_tail_is_cut_only_in_the_last_segment() {
    let disk = SimDisk::new();
    let records = closed_log(&disk).await;
    // The last record, cut short; the segment before it damaged in the same way.
    let (last, _) = &records[9];
    overwrite(&disk, 9, bytes_of(last).end - 50, &[0; 50]);
    let (other, _) = &records[7];
    overwrite(&disk, 5, bytes_of(other).end - 50, &[0; 50]);

    let log = open(&disk);
    assert_eq!(log.recovery.torn_bytes, bytes_of(last).end - 50 - bytes_of(last).start);
    let read: Vec<u64> = read_from(&log, 0).iter().map(|entry| entry.seq).collect();
    assert_eq!(read, [1, 2, 3, 4, 5, 6, 7, 9]);
    assert_eq!(file_len(&disk, &segment_path(9)), bytes_of(last).start + 40, "cut, and sealed");
    assert_eq!(stat(&log, |stats| &stats.damaged_ranges), 1);
    assert_eq!(quarantined(&disk), [file_name(5)]);
}

#[tokio::test]
async fn numbers_that_torn_or_damaged_records_may_have_had_are_not_used_again() {
    for restarts in 1..4 {
        let disk = SimDisk::new();
        let records = closed_log(&disk).await;
        disk.flip(&segment_path(9), bytes_of(&records[9].0).start + 30, 3);
        for _ in 1..restarts {
            open(&disk).appender.close().await;
        }
        let log = open(&disk);
        assert!(append(&log, &payload(1, 10)).await.unwrap().seq > 10);
    }
}

#[tokio::test]
async fn a_crash_while_a_tail_is_cut_does_not_bring_its_numbers_back() {
    for step in 1..12 {
        for seed in 0..10 {
            let disk = SimDisk::new();
            let records = closed_log(&disk).await;
            disk.flip(&segment_path(9), bytes_of(&records[9].0).start + 30, 3);
            disk.crash_at(step);
            drop(try_open(&disk, options()));
            disk.crash(seed);
            let log = open(&disk);
            assert!(append(&log, &payload(1, 10)).await.unwrap().seq > 10, "step {step}, seed {seed}");
        }
    }
}

#[tokio::test]
async fn damage_that_is_met_while_reading_is_counted_once_and_a_copy_is_kept() {
    let disk = SimDisk::new();
    let records = closed_log(&disk).await;
    let log = open(&disk);
    let before = stat(&log, |stats| &stats.used_bytes);
    for hit in [1, 2, 5] {
        let at = records[hit].0.position;
        disk.flip(&segment_path(at.segment), at.offset + 40, 1);
    }
    for _ in 0..3 {
        let read: Vec<u64> = read_from(&log, 0).iter().map(|entry| entry.seq).collect();
        assert_eq!(read, [1, 4, 5, 7, 8, 9, 10]);
    }
    // The second and the third record are one range.
    assert_eq!(stat(&log, |stats| &stats.damaged_ranges), 2);
    let damaged: u64 =
        [1, 2, 5].iter().map(|hit| bytes_of(&records[*hit].0)).map(|range| range.end - range.start).sum();
    assert_eq!(stat(&log, |stats| &stats.damaged_bytes), damaged);
    assert_eq!(quarantined(&disk), [file_name(1), file_name(5)]);
    let copy = read_whole(&disk, &quarantine::folder(Path::new(DIR)).join(file_name(5))).unwrap();
    assert_eq!(copy, read_whole(&disk, &segment_path(5)).unwrap());
    let copies = stat(&log, |stats| &stats.quarantined_bytes);
    assert_eq!(stat(&log, |stats| &stats.used_bytes), before + copies);

    log.appender.close().await;
    let log = open(&disk);
    assert_eq!(stat(&log, |stats| &stats.quarantined_bytes), copies);
}

#[tokio::test]
async fn copies_of_damaged_segments_stay_within_the_budget() {
    let disk = SimDisk::new();
    let log = open_with(&disk, Options { max_bytes: 6144, ..options() });
    fill(&log, 16, 200).await;
    for base in [1, 5, 9] {
        disk.flip(&segment_path(base), 100, 1);
    }
    assert_eq!(read_from(&log, 0).len(), 13);
    assert_eq!(stat(&log, |stats| &stats.damaged_ranges), 3);
    assert_eq!(stat(&log, |stats| &stats.quarantine_skipped), 1);
    assert_eq!(quarantined(&disk).len(), 2);
    assert!(stat(&log, |stats| &stats.used_bytes) <= 6144);
}

#[tokio::test]
async fn a_segment_whose_header_is_garbage_is_read_by_its_name() {
    for base in [1, 5, 9] {
        let disk = SimDisk::new();
        let records = closed_log(&disk).await;
        overwrite(&disk, base, 0, &[0xAB; HEADER_BYTES]);
        let log = open(&disk);
        assert_eq!((log.recovery.damaged_ranges, log.recovery.damaged_bytes), (1, HEADER_BYTES as u64));
        assert_eq!(read_from(&log, 0).len(), records.len());
        assert_eq!(log.recovery.next_seq, 11);
        assert_eq!(quarantined(&disk), [file_name(base)]);
        let next = append(&log, &payload(11, 200)).await.unwrap().position;
        assert_eq!(next.segment, if base == 9 { 11 } else { 9 }, "nothing is added to a damaged segment");
        assert_eq!(read_from(&log, 0).len(), records.len() + 1);
    }
}

#[tokio::test]
async fn segments_that_are_nothing_but_garbage_do_not_keep_the_log_from_opening() {
    for content in [&b""[..], &[0; 7], &[0; 5000], &[0xFF; 5000], b"CLEWSEGM\x01\0\0\0"] {
        for base in [1, 5, 9, 40] {
            let disk = SimDisk::new();
            let records = closed_log(&disk).await;
            if base != 40 {
                disk.remove(&segment_path(base)).unwrap();
            }
            let file = disk.create(&segment_path(base), 0).unwrap();
            file.write_all_at(&[content], 0).unwrap();
            let log = open(&disk);
            let expected: Vec<u64> =
                records.iter().filter(|(at, _)| at.position.segment != base).map(|(at, _)| at.seq).collect();
            let read: Vec<u64> = read_from(&log, 0).iter().map(|entry| entry.seq).collect();
            assert_eq!(read, expected);
            let next = append(&log, &payload(1, 100)).await.unwrap().seq;
            assert!(next >= if base == 40 { 40 } else { 9 });
            assert_eq!(read_from(&log, next).len(), 1);
        }
    }
}

#[tokio::test]
async fn bytes_inside_a_damaged_payload_that_look_like_a_record_are_none() {
    for (bad_byte, what) in [(20, "the payload"), (4, "the checksum")] {
        let disk = SimDisk::new();
        let log = open(&disk);
        let inner = [2, 3].map(|seq| [&record_head(seq, 7, [b"forged", b""])[..], b"forged"].concat()).concat();
        let forged: Bytes = [&[1; 50], &inner[..], &[2; 50]].concat().into();
        let position = append(&log, &forged).await.unwrap().position;
        let rest = fill(&log, 2, 60).await;
        disk.flip(&segment_path(1), position.offset + bad_byte, 0);
        assert_eq!(seqs_and_payloads(&read_from(&log, 0)), numbered(2, &rest), "{what}");
        log.appender.close().await;
        assert_eq!(seqs_and_payloads(&read_from(&open(&disk), 0)), numbered(2, &rest), "{what}");
    }
}

#[tokio::test]
async fn what_the_disk_cannot_read_is_damage_and_the_rest_is_found() {
    let options = Options { segment_bytes: 64 << 10, max_bytes: 1 << 20, ..options() };
    let disk = SimDisk::new();
    let log = open_with(&disk, options.clone());
    let payloads = fill(&log, 150, 1000).await;
    disk.set_unreadable(&segment_path(1), 20_000..20_100);
    let read = seqs_and_payloads(&read_from(&log, 0));
    let all = numbered(1, &payloads);
    assert!((140..150).contains(&read.len()), "{}", read.len());
    assert!(read.iter().all(|entry| all.contains(entry)));
    assert_eq!(stat(&log, |stats| &stats.damaged_ranges), 1);
    log.appender.close().await;

    // In the last segment: it is left as it is, and the log goes on in a new one.
    let last = *segments(&disk).last().unwrap();
    disk.set_unreadable(&segment_path(last), 4096..64 << 10);
    let before = read_whole(&disk, &segment_path(1)).is_ok();
    assert!(!before);
    let log = open_with(&disk, options.clone());
    let next = append(&log, &payload(1, 10)).await.unwrap().seq;
    assert!(next > 150);
    log.appender.close().await;
    disk.set_unreadable(&segment_path(last), 0..0);
    disk.set_unreadable(&segment_path(1), 0..0);
    let log = open_with(&disk, options);
    assert_eq!(read_from(&log, 0).len(), 151, "once the disk reads again, everything is there");
}

#[tokio::test]
async fn other_files_in_the_folder_are_left_alone() {
    let disk = SimDisk::new();
    closed_log(&disk).await;
    for name in
        ["agent.id", "1.seg", "0000000000000000000a.seg", "00000000000000000005.seg.tmp", "99999999999999999999.seg"]
    {
        disk.create(&Path::new(DIR).join(name), 10).unwrap();
    }
    let log = open(&disk);
    log.appender.free_before(u64::MAX);
    assert_eq!(append(&log, &payload(1, 10)).await.unwrap().seq, 11);
    assert!(disk.open(Path::new("/log/agent.id")).is_ok() && disk.open(Path::new("/log/1.seg")).is_ok());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: ProptestConfig::default().cases.max(1000), failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_was_written_over_a_log_it_opens_and_gives_back_only_its_own(
        scribbles in prop::collection::vec(
            (0..3_usize, 0..1100_u64, prop::collection::vec(any::<u8>(), 0..40), any::<bool>()), 0..6),
        cut in prop::option::of((0..3_usize, 0..1024_u64)),
        copied in prop::option::of((0..10_usize, 0..3_usize, 0..900_u64)),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let disk = SimDisk::new();
            let records = closed_log(&disk).await;
            let bases = [1, 5, 9];
            let mut touched = Vec::new();
            // A whole record, in another place.
            if let Some((which, segment, offset)) = copied {
                let at = records[which].0;
                let bytes = read_whole(&disk, &segment_path(at.position.segment)).unwrap();
                let range = bytes_of(&at);
                overwrite(&disk, bases[segment], offset, &bytes[range.start as usize..range.end as usize]);
                // It may pass for the record that it is, and so hide others of that segment.
                touched.push((bases[segment], 0..u64::MAX));
            }
            for (segment, offset, bytes, zeros) in &scribbles {
                let bytes = if *zeros { vec![0; bytes.len()] } else { bytes.clone() };
                overwrite(&disk, bases[*segment], *offset, &bytes);
                touched.push((bases[*segment], *offset..*offset + bytes.len() as u64));
            }
            if let Some((segment, len)) = cut {
                disk.open(&segment_path(bases[segment])).unwrap().set_len(len).unwrap();
                touched.push((bases[segment], len..u64::MAX));
            }
            let log = open(&disk);
            let all: Vec<(u64, Bytes)> = records.iter().map(|(at, payload)| (at.seq, payload.clone())).collect();
            let whole = |at: &Appended| {
                let range = bytes_of(at);
                !touched.iter().any(|(base, hit)| {
                    *base == at.position.segment && hit.start < range.end && range.start < hit.end
                })
            };
            for _ in 0..2 {
                let read = seqs_and_payloads(&read_from(&log, 0));
                assert!(read.is_sorted_by(|a, b| a.0 < b.0));
                assert!(read.iter().all(|entry| all.contains(entry)), "something else was read");
                for (at, payload) in records.iter().filter(|(at, _)| whole(at)) {
                    assert!(read.contains(&(at.seq, payload.clone())), "{} is whole and was not read", at.seq);
                }
            }
            let mut cursor = log.reader.cursor(0);
            while log.reader.next_start(&mut cursor, 20).unwrap().is_some() {}
            let seen = read_from(&log, 0).last().map_or(0, |entry| entry.seq);
            let next = append(&log, &payload(77, 100)).await.unwrap();
            assert!(next.seq > seen);
            assert_eq!(log.reader.load(next.position).unwrap().payload, payload(77, 100));
        });
    }
}
