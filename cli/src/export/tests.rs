//! What names tell, and which blocks a selection needs.

use clew_storage::block::Meta;

use super::*;

#[test]
fn a_name_tells_format_and_compression() {
    use Compression::{Gzip, None as Plain, Zstd};
    use Format::{Json, Parquet, Protobuf};
    for (name, format, compression) in [
        ("-", None, Plain),
        ("spans", None, Plain),
        ("a/b.jsonl", Some(Json), Plain),
        ("b.JSON.GZ", Some(Json), Gzip),
        ("x.ndjson.zst", Some(Json), Zstd),
        ("x.pb.zstd", Some(Protobuf), Zstd),
        ("x.binpb", Some(Protobuf), Plain),
        ("x.zst", None, Zstd),
        ("x.parquet", Some(Parquet), Plain),
        ("jsonl", None, Plain),
    ] {
        assert_eq!(by_name(Path::new(name)), (format, compression), "{name}");
    }
}

fn meta(start_min: i64, start_max: i64) -> Meta {
    let json = serde_json::json!({
        "version": 1, "id": "01234567-89ab-7def-8123-456789abcdef", "tenant": "default", "level": 0, "created_ms": 0,
        "spans": 2, "traces": 1, "start_min": start_min, "start_max": start_max, "end_max": start_max, "replaces": [],
        "may_duplicate": false, "wal": [], "files": {}, "services": {}, "services_complete": true, "attributes": [],
        "attributes_complete": true,
    });
    serde_json::from_value(json).unwrap()
}

#[test]
fn a_block_is_left_out_only_when_no_span_of_it_can_be_wanted() {
    let during =
        |from: Option<u64>, to: Option<u64>| Selection { tenant: Tenant::default(), from, to, traces: BTreeSet::new() };
    let cases = [
        (None, None, (10, 20), Share::All),
        (Some(10), Some(21), (10, 20), Share::All),
        (Some(11), None, (10, 20), Share::Some),
        (None, Some(20), (10, 20), Share::Some),
        (Some(21), None, (10, 20), Share::Nothing),
        (None, Some(10), (10, 20), Share::Nothing),
        (None, None, (-1, 20), Share::All),
        // Past 2262: the least number is the latest time.
        (Some(21), None, (-1, 20), Share::Some),
    ];
    for (from, to, (min, max), share) in cases {
        assert_eq!(during(from, to).share(&meta(min, max)), share, "{from:?}..{to:?} of {min}..{max}");
    }
    let of_a_trace = Selection { traces: [[1; 16]].into(), ..during(None, None) };
    assert_eq!(of_a_trace.share(&meta(10, 20)), Share::Some);
    assert!(of_a_trace.wants(&[1; 16], 0) && !of_a_trace.wants(&[2; 16], 0));
    let late = during(Some(u64::MAX - 1), None);
    assert!(late.wants(&[1; 16], u64::MAX) && !late.wants(&[1; 16], 5));
}
