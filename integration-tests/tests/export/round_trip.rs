//! What is exported, imported elsewhere and exported again is what it was.

use anyhow::Result;

use crate::{
    clew::{Dir, clew, export, import, wait_flushed},
    odd, spans,
};

#[test]
fn odd_spans_come_back_the_same_through_every_format_from_blocks_and_from_the_wal() -> Result<()> {
    let dir = Dir::new()?;
    let [newer, stripped] = odd::newer();
    let all = [odd::messages(), vec![newer]].concat();
    let exact = spans::of(&all)?;
    let as_json = spans::of(&[odd::messages(), vec![stripped]].concat())?;
    let (early, late) = all.split_at(4);

    // Half of it in blocks, half of it in the WAL alone.
    let mut collector = dir.collector("first", &["--flush-age-s=1"])?;
    import(&collector, &[&dir.write("early.pb", early)?], "default")?;
    wait_flushed(&collector)?;
    assert!(collector.process.stop(crate::clew::SOON)?);
    collector.flags.clear();
    collector.restart()?;
    import(&collector, &[&dir.write("late.pb", late)?], "default")?;

    let formats = ["a.jsonl", "b.pb", "c.jsonl.gz", "d.pb.zst", "e"];
    let data = dir.text("first");
    let write = |prefix: &str| {
        formats.iter().try_for_each(|name| {
            let output = dir.text(&format!("{prefix}{name}"));
            let parquet: &[&str] = if *name == "e" { &["--format", "parquet"] } else { &[] };
            let said = clew(&[&["export", "--data", &data, "--output", &output], parquet].concat())?;
            let (all, of_wal) = (thousands(spans::count(&exact)), thousands(spans::count(&spans::of(late)?)));
            let expected = format!("exported {all} spans of 1 block and the WAL, which alone had {of_wal}\n");
            assert!(said.err == expected, "{} is not {expected}", said.err);
            said.well().map(drop)
        })
    };
    write("running.")?;
    collector.process.kill()?;
    write("killed.")?;

    let second = dir.collector("second", &["--flush-age-s=1"])?;
    for prefix in ["running.", "killed."] {
        for name in formats {
            let tenant = format!("{prefix}{name}");
            let said = import(&second, &[&dir.text(&tenant)], &tenant)?;
            assert!(said.contains("; refused 0\n"), "{said}");
        }
    }
    let check = || {
        for prefix in ["running.", "killed."] {
            for name in formats {
                let expected = if name.contains("json") { &as_json } else { &exact };
                let found = export(&dir.path("second"), &format!("{prefix}{name}"))?;
                spans::same(&found, expected).map_err(|error| error.context(format!("through {prefix}{name}")))?;
            }
        }
        anyhow::Ok(())
    };
    check()?;
    wait_flushed(&second)?;
    check()?;
    let verified = clew(&["verify", "--store", &dir.text("running.e")])?.well()?;
    assert!(verified.contains("nothing is damaged"), "{verified}");
    Ok(())
}

fn thousands(number: usize) -> String {
    if number < 1000 { number.to_string() } else { format!("{} {:03}", number / 1000, number % 1000) }
}

#[test]
fn ordinary_spans_are_all_there_once_after_an_export_and_an_import() -> Result<()> {
    let dir = Dir::new()?;
    let corpus = dir.text("corpus");
    clew(&["load", "write", &corpus, "--spans", "20000", "--seed", "5"])?.well()?;
    let first = dir.collector("first", &["--flush-age-s=1"])?;
    clew(&["load", "send", &corpus, "--endpoint", &first.url()])?.well()?;
    wait_flushed(&first)?;
    for (name, format) in [("a", "json"), ("b", "protobuf"), ("c", "parquet")] {
        let output = dir.text(name);
        clew(&["export", "--data", &dir.text("first"), "--format", format, "--output", &output])?.well()?;
        let second = dir.collector(&format!("second.{name}"), &[])?;
        import(&second, &[&output], "default")?;
        let checked = clew(&["load", "check", &corpus, "--collector", &second.url()])?.well()?;
        assert!(checked.contains("0 missing, 0 duplicate, 0 altered, 0 unknown"), "{format}: {checked}");
    }
    // A collector's own folder of blocks is one that can be imported too.
    let third = dir.collector("third", &[])?;
    import(&third, &[&dir.text("first/blocks")], "default")?;
    clew(&["load", "check", &corpus, "--collector", &third.url()])?.well()?;
    Ok(())
}
