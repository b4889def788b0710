//! A collector that keeps all it has in a store, its write-ahead log too.

use anyhow::Result;
use clew_integration_tests::{Collector, s3::S3};

use crate::{
    clew::{Dir, Said, command, import, wait_flushed},
    odd, spans,
};

#[test]
fn what_is_in_a_bucket_is_exported_blocks_and_log() -> Result<()> {
    let dir = Dir::new()?;
    let s3 = S3::start(&dir.path("s3"))?;
    let place = s3.place("x");
    let flags = ["--wal=store", "--name=one", "--takeover-wait-s=0"];
    let with_flush = [&flags[..], &["--flush-age-s=1"]].concat();
    let mut collector = Collector::start_on(&dir.path("c"), &s3, "x", &with_flush)?;
    let (early, late) = (odd::message(vec![odd::full(1), odd::span(1, 2)]), odd::message(vec![odd::full(2)]));
    import(&collector, &[&dir.write("early.pb", std::slice::from_ref(&early))?], "default")?;
    wait_flushed(&collector)?;
    assert!(collector.process.stop(crate::clew::SOON)?);
    collector.flags.retain(|flag| flag != "--flush-age-s=1");
    collector.restart()?;
    import(&collector, &[&dir.write("late.pb", std::slice::from_ref(&late))?], "default")?;

    let clew = |arguments: &[&str]| anyhow::Ok(Said::from(command(arguments)?.envs(s3.environment()).output()?));
    let all = spans::of(&[early, late])?;
    let exported = clew(&["export", "--store", &place, "--format", "protobuf"])?;
    assert!(exported.err.contains("exported 3 spans of 1 block and the WAL, which alone had 1"), "{}", exported.err);
    spans::same(&spans::of_delimited(&exported.out)?, &all)?;
    collector.process.kill()?;
    let folder = dir.text("folder");
    clew(&["export", "--store", &place, "--format", "parquet", "--output", &folder])?.well()?;
    // And from the bucket straight into another collector.
    let other = dir.collector("other", &[])?;
    clew(&["import", &folder, "--to", &other.url()])?.well()?;
    spans::same(&crate::clew::export(&dir.path("other"), "default")?, &all)?;
    clew(&["import", &place, "--to", &other.url(), "--tenant", "straight"])?.well()?;
    assert_eq!(spans::count(&crate::clew::export(&dir.path("other"), "straight")?), 2, "blocks have no log");
    Ok(())
}
