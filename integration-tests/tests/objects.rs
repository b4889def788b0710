//! The store in a bucket, against an S3 server that fails.

use std::{io::Write, time::Duration};

use anyhow::Result;
use clew_common::world::Random;
use clew_integration_tests::s3::{Faults, S3};
use clew_storage::store::{Objects, Patience, Store};
use object_store::aws::AmazonS3Builder;

fn store(s3: &S3, patience: Patience) -> Result<Objects> {
    let builder = s3.environment().into_iter().try_fold(AmazonS3Builder::new(), |builder, (name, value)| {
        anyhow::Ok(builder.with_config(name.to_lowercase().parse()?, value))
    })?;
    let place = s3.place("a/b");
    Ok(Objects::new(builder, place.trim_start_matches("s3://"), patience, Random::seeded(1))?)
}

fn content(bytes: usize) -> Vec<u8> {
    (0..bytes).map(|at| (at * 31 % 251) as u8).collect()
}

#[test]
fn whatever_the_server_does_files_are_whole_or_errors_say_so() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let s3 = S3::start(dir.path())?;
    let store = store(&s3, Patience { request: Duration::from_secs(2), retries: Duration::from_secs(60) })?;
    s3.fail(&Faults { list_lag_ms: 0, ..Faults::all() })?;
    for at in 0..40 {
        let (path, bytes) = (format!("x/{at}"), content(1000 + at));
        store.put(&path, bytes.clone().into())?;
        assert_eq!(store.size(&path)?, bytes.len() as u64);
        assert_eq!(store.read(&path, 10..900)?, bytes[10..900]);
    }
    let large = content(20 << 20);
    let mut sink = store.create("x/large")?;
    for piece in large.chunks(1 << 20) {
        sink.write_all(piece)?;
    }
    assert_eq!(sink.finish()?, large.len() as u64);
    assert_eq!(store.read("x/large", 0..large.len() as u64)?, large);
    assert_eq!(store.list("x")?.len(), 41);
    assert!(store.list("")?.iter().all(|file| file.path.starts_with("x/")));
    for file in store.list("x")? {
        store.delete(&file.path)?;
        store.delete(&file.path)?;
    }
    assert!(store.list("")?.is_empty());
    Ok(())
}

#[test]
fn what_cannot_be_is_an_error_that_names_the_file() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let s3 = S3::start(dir.path())?;
    let hasty = store(&s3, Patience { request: Duration::from_millis(200), retries: Duration::from_secs(1) })?;
    let store = store(&s3, Patience::default())?;
    let missing = store.read("none", 0..5).unwrap_err();
    assert!(missing.is_not_found() && missing.to_string().contains("none"), "{missing}");
    store.put("short", "abc".into())?;
    let short = store.read("short", 0..5).unwrap_err();
    assert!(!short.is_retryable() && short.to_string().contains("shorter"), "{short}");
    assert!(store.put("../up", "abc".into()).is_err());
    let mut sink = store.create("dropped")?;
    sink.write_all(&content(9 << 20))?;
    drop(sink);
    assert_eq!(store.list("")?.len(), 1);
    s3.fail(&Faults { hangs: 1.0, ..Faults::default() })?;
    let hangs = hasty.read("short", 0..3).unwrap_err();
    assert!(hangs.is_retryable(), "{hangs}");
    Ok(())
}
