use super::super::segment::{self, header_of_version};
use super::*;

/// A sealed segment of format version 1 with three records. It stays as it is for good: what wrote such files is in use.
const VERSION_1: &[u8] = include_bytes!("../fixtures/version-1.seg");
const VERSION_1_BASE: u64 = 4_294_967_301;

fn version_1_payloads() -> Vec<Bytes> {
    vec![Bytes::from_static(b"first"), Bytes::new(), (0..=255).collect::<Vec<u8>>().into()]
}

fn put(disk: &SimDisk, base: u64, bytes: &[u8]) {
    disk.create_dir_all(Path::new(DIR)).unwrap();
    disk.create(&segment_path(base), 0).unwrap().write_all_at(&[bytes], 0).unwrap();
}

#[tokio::test]
async fn a_segment_of_version_1_still_opens() {
    let disk = SimDisk::new();
    put(&disk, VERSION_1_BASE, VERSION_1);
    let log = open(&disk);
    assert_eq!((log.recovery.records, log.recovery.damaged_ranges, log.recovery.torn_bytes), (3, 0, 0));
    let entries = read_from(&log, 0);
    assert_eq!(seqs_and_payloads(&entries), numbered(VERSION_1_BASE, &version_1_payloads()));
    assert_eq!(entries.iter().map(|entry| entry.kind).collect::<Vec<_>>(), [1, 0, 255]);
    assert_eq!(log.recovery.next_seq, VERSION_1_BASE + 3);
}

#[tokio::test]
async fn the_bytes_written_are_those_of_version_1() {
    let disk = SimDisk::new();
    // An empty segment sets where the numbers start.
    put(&disk, VERSION_1_BASE, &segment::header(VERSION_1_BASE));
    let log = open_with(&disk, Options { weigh: |kind, _| u64::from(kind), ..options() });
    for (payload, kind) in version_1_payloads().into_iter().zip([1, 0, 255]) {
        log.appender.append(Record { kind, head: Bytes::new(), body: payload }).await.unwrap();
    }
    append(&log, &payload(1, 700)).await.unwrap();
    assert_eq!(read_whole(&disk, &segment_path(VERSION_1_BASE)).unwrap(), VERSION_1);
}

#[tokio::test]
async fn a_segment_of_an_unknown_version_is_refused_by_name_and_nothing_is_touched() {
    let disk = SimDisk::new();
    let log = open(&disk);
    fill(&log, 6, 200).await;
    log.appender.close().await;
    // Torn, which opening would repair.
    disk.flip(&segment_path(5), 30, 0);
    put(&disk, 3, &[&header_of_version(2, 3)[..], b"what only version 2 knows"].concat());
    let look =
        || segments(&disk).iter().map(|base| read_whole(&disk, &segment_path(*base)).unwrap()).collect::<Vec<_>>();
    let (before, changes) = (look(), disk.changes());
    let error = try_open(&disk, options()).err().unwrap();
    assert!(matches!(error, OpenError::Version { version: 2, known: 1, .. }));
    assert_eq!(
        error.to_string(),
        "/log/00000000000000000003.seg is of format version 2, which this program does not know (it knows 1); \
         nothing was changed"
    );
    assert_eq!((look(), disk.changes()), (before, changes));
}

#[tokio::test]
async fn a_damaged_version_is_damage_and_not_another_version() {
    let disk = SimDisk::new();
    let log = open(&disk);
    let payloads = fill(&log, 6, 200).await;
    log.appender.close().await;
    disk.flip(&segment_path(1), 8, 1);
    let log = open(&disk);
    assert_eq!(seqs_and_payloads(&read_from(&log, 0)), numbered(1, &payloads));
    assert_eq!(log.recovery.damaged_ranges, 1);
}
