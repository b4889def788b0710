//! Damaged blocks are named, and the others exported.

use anyhow::{Context, Result};
use clew_integration_tests::files;

use crate::{
    clew::{Dir, clew, import, wait_flushed},
    odd, spans,
};

#[test]
fn a_damaged_block_is_told_and_the_others_are_exported() -> Result<()> {
    let dir = Dir::new()?;
    let mut collector = dir.collector("c", &["--flush-age-s=1"])?;
    let messages: Vec<Vec<u8>> =
        (1..=3).map(|trace| odd::message((0..5000).map(|number| odd::span(trace, number)).collect())).collect();
    for (number, message) in messages.iter().enumerate() {
        import(&collector, &[&dir.write(&format!("{number}.pb"), std::slice::from_ref(message))?], "default")?;
        wait_flushed(&collector)?;
    }
    assert!(collector.process.stop(crate::clew::SOON)?);
    let whole = spans::of(&[messages[0].clone(), messages[2].clone()])?;

    for (name, at) in [("spans.parquet", 0.5), ("resources.parquet", 0.5), ("meta.json", 0.9), ("filter.bin", 0.5)] {
        let damaged = files(&dir.path("c/blocks"), name)?.get(1).context("three blocks")?.clone();
        let before = std::fs::read(&damaged)?;
        let mut bytes = before.clone();
        let place = (bytes.len() as f64 * at) as usize;
        bytes[place] ^= 0x10;
        std::fs::write(&damaged, &bytes)?;

        let (data, folder) = (dir.text("c"), dir.text(&format!("of.{name}")));
        let said = clew(&["export", "--data", &data, "--format", "protobuf"])?;
        let told =
            said.err.lines().any(|line| line.starts_with("clew: damaged: default/blocks/") && line.contains(name));
        assert!(!said.success && told && said.err.contains("1 damaged place"), "{name}: {}", said.err);
        // What can be read of the damaged block may be there too, from it or from the WAL.
        let others = |bytes: &[u8]| {
            let mut found = spans::of_delimited(bytes)?;
            found.retain(|flat, _| whole.contains_key(flat));
            spans::same(&found, &whole)
        };
        others(&said.out)?;

        let said = clew(&["export", "--data", &data, "--format", "parquet", "--output", &folder])?.badly()?;
        assert!(said.contains(name), "{said}");
        clew(&["verify", "--store", &folder])?.well()?;
        let again = clew(&["export", "--store", &folder, "--format", "protobuf"])?;
        others(&again.out)?;

        // A damaged block is not imported in silence either.
        let target = dir.collector(&format!("target.{name}"), &[])?;
        let said = clew(&["import", "--to", &target.url(), &dir.text("c/blocks")])?.badly()?;
        assert!(said.contains(name), "{said}");
        std::fs::write(&damaged, &before)?;
    }
    Ok(())
}
