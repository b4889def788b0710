//! Only some spans are exported: of a time, of traces, of a tenant.

use std::collections::BTreeMap;

use anyhow::Result;

use crate::{
    clew::{Dir, clew, import, wait_flushed},
    odd, spans,
};

/// Spans of three traces, a second apart each, in two blocks and the WAL.
fn filled(dir: &Dir) -> Result<BTreeMap<spans::Flat, usize>> {
    let mut collector = dir.collector("c", &["--flush-age-s=1"])?;
    let mut all = Vec::new();
    for part in 0..3u32 {
        let second = u64::from(part) * 1_000_000_000;
        let spans = (0..30).map(|number| {
            let span = odd::span(number % 3 + 1, 100 * part + u32::from(number));
            opentelemetry_proto::tonic::trace::v1::Span { start_time_unix_nano: odd::NOW + second, ..span }
        });
        let message = odd::message(spans.collect());
        if part == 2 {
            assert!(collector.process.stop(crate::clew::SOON)?);
            collector.flags.clear();
            collector.restart()?;
        }
        import(&collector, &[&dir.write(&format!("{part}.pb"), std::slice::from_ref(&message))?], "default")?;
        if part < 2 {
            wait_flushed(&collector)?;
        }
        all.push(message);
    }
    spans::of(&all)
}

/// What `clew export` gives of it, in each format: the same.
fn exported(dir: &Dir, name: &str, flags: &[&str]) -> Result<BTreeMap<spans::Flat, usize>> {
    let (data, folder) = (dir.text("c"), dir.text(name));
    let export = |more: &[&str]| clew(&[&["export", "--data", data.as_str()], flags, more].concat());
    let protobuf = export(&["--format", "protobuf"])?;
    assert!(protobuf.success, "{}", protobuf.err);
    let found = spans::of_delimited(&protobuf.out)?;
    export(&["--format", "parquet", "--output", &folder])?.well()?;
    let again = clew(&["export", "--store", &folder, "--format", "protobuf"])?;
    if !found.is_empty() {
        spans::same(&spans::of_delimited(&again.out)?, &found)?;
        clew(&["verify", "--store", &folder])?.well()?;
    }
    let json = export(&[])?.well()?;
    assert_eq!(json.matches("\"spanId\"").count(), spans::count(&found));
    Ok(found)
}

#[test]
fn a_time_a_trace_and_a_tenant_select_the_same_spans_in_every_format() -> Result<()> {
    let dir = Dir::new()?;
    let all = filled(&dir)?;
    spans::same(&exported(&dir, "all", &[])?, &all)?;
    let at = |second: u64| (odd::NOW / 1_000_000_000 + second).to_string();
    let of = |wanted: &dyn Fn(&spans::Flat) -> bool| -> BTreeMap<_, _> {
        all.iter().filter(|(flat, _)| wanted(flat)).map(|(flat, times)| (flat.clone(), *times)).collect()
    };
    // Field 1 is the trace, field 7 the start.
    let start = |flat: &spans::Flat| {
        let field = flat.span.iter().find(|field| field[0] == 0x39).map_or(&[][..], |field| &field[1..]);
        u64::from_le_bytes(field.try_into().unwrap_or_default())
    };
    let trace = |flat: &spans::Flat| flat.span[0][2];
    let second = 1_000_000_000;

    let until = exported(&dir, "until", &["--to", &at(1)])?;
    spans::same(&until, &of(&|flat| start(flat) < odd::NOW + second))?;
    let from = exported(&dir, "from", &["--from", &at(1)])?;
    spans::same(&from, &of(&|flat| start(flat) >= odd::NOW + second))?;
    assert_eq!((spans::count(&until), spans::count(&from)), (30, 60));
    let middle = exported(&dir, "middle", &["--from", &at(1), "--to", &at(2)])?;
    assert_eq!(spans::count(&middle), 30);

    let (one, two) = (hex::encode([1; 16]), hex::encode([3; 16]));
    let traces = exported(&dir, "traces", &["--trace", &one, "--trace", &two])?;
    spans::same(&traces, &of(&|flat| trace(flat) != 2))?;
    let both = exported(&dir, "both", &["--trace", &one, "--from", &at(2)])?;
    spans::same(&both, &of(&|flat| trace(flat) == 1 && start(flat) >= odd::NOW + 2 * second))?;
    assert_eq!(spans::count(&both), 10);

    assert_eq!(spans::count(&exported(&dir, "nobody", &["--tenant", "nobody"])?), 0);
    let nobody = clew(&["export", "--data", &dir.text("c"), "--tenant", "nobody"])?;
    assert!(nobody.success && nobody.err.contains("no spans here; there are blocks of default"), "{}", nobody.err);
    Ok(())
}

#[test]
fn nothing_is_written_over_and_a_wrong_wish_is_told() -> Result<()> {
    let dir = Dir::new()?;
    filled(&dir)?;
    let data = dir.text("c");
    std::fs::write(dir.path("there.jsonl"), "mine")?;
    let there = clew(&["export", "--data", &data, "--output", &dir.text("there.jsonl")])?.badly()?;
    assert!(there.contains("there.jsonl is there already"), "{there}");
    assert_eq!(std::fs::read(dir.path("there.jsonl"))?, b"mine");
    let folder = clew(&["export", "--data", &data, "--format", "parquet", "--output", &data])?.badly()?;
    assert!(folder.contains("is not empty"), "{folder}");
    let stdout = clew(&["export", "--data", &data, "--format", "parquet"])?.badly()?;
    assert!(stdout.contains("--output DIR"), "{stdout}");
    let nowhere = clew(&["export", "--data", &dir.text("nowhere")])?.badly()?;
    assert!(nowhere.contains("is no collector's data folder"), "{nowhere}");
    Ok(())
}
