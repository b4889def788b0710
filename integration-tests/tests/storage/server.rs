//! The S3 server of these tests does what one does, and fails as it is told to.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use bytes::Bytes;
use clew_integration_tests::s3::{Faults, S3};
use futures_util::TryStreamExt;
use object_store::{
    ClientOptions, ObjectStore, ObjectStoreExt, RetryConfig,
    aws::{AmazonS3, AmazonS3Builder},
    path::Path,
    prefix::PrefixStore,
};

type Client = PrefixStore<AmazonS3>;

/// A client that never tries twice.
fn client(s3: &S3) -> Result<Client> {
    client_of(s3, |builder| builder)
}

fn client_of(s3: &S3, change: impl FnOnce(AmazonS3Builder) -> AmazonS3Builder) -> Result<Client> {
    let mut builder = AmazonS3Builder::new().with_bucket_name(s3.bucket()).with_conditional_put(Default::default());
    for (name, value) in s3.environment() {
        builder = builder.with_config(name.to_lowercase().parse()?, value);
    }
    let once = RetryConfig { max_retries: 0, ..RetryConfig::default() };
    let options = ClientOptions::new().with_allow_http(true).with_timeout(Duration::from_secs(2));
    Ok(PrefixStore::new(change(builder.with_client_options(options).with_retry(once)).build()?, s3.prefix()))
}

async fn names(client: &Client) -> Result<Vec<String>> {
    let listed: Vec<_> = client.list(None).try_collect().await?;
    let mut names: Vec<String> = listed.into_iter().map(|object| object.location.to_string()).collect();
    names.sort();
    Ok(names)
}

#[tokio::test(flavor = "multi_thread")]
async fn objects_are_put_read_in_part_listed_and_deleted() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let mut s3 = S3::start(dir.path())?;
    let whole = client(&s3)?;
    let (small, large) = (Path::from("a/small"), Path::from("a/b/large"));
    whole.put(&small, Bytes::from_static(b"0123456789").into()).await?;
    let mut upload = whole.put_multipart(&large).await?;
    upload.put_part(vec![1; 5 << 20].into()).await?;
    upload.put_part(vec![2; 100].into()).await?;
    upload.complete().await?;
    assert_eq!(whole.get_range(&small, 2..5).await?, Bytes::from_static(b"234"));
    assert_eq!(whole.get_range(&large, (5 << 20) - 1..(5 << 20) + 1).await?, Bytes::from_static(&[1, 2]));
    assert_eq!(whole.head(&large).await?.size, (5 << 20) + 100);
    assert_eq!(names(&whole).await?, ["a/b/large", "a/small"]);

    // Objects outlive the server; others than its user are refused.
    s3.kill()?;
    s3.restart()?;
    let stranger = client_of(&s3, |builder| builder.with_access_key_id("stranger").with_secret_access_key("wrong"))?;
    assert!(stranger.get(&small).await.is_err());
    whole.delete(&small).await?;
    assert_eq!(names(&whole).await?, ["a/b/large"]);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn each_fault_happens_as_it_is_told() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let s3 = S3::start(dir.path())?;
    let client = client(&s3)?;
    let path = Path::from("object");
    let bytes = Bytes::from(vec![7; 100_000]);
    client.put(&path, bytes.clone().into()).await?;

    for (faults, status) in [
        (Faults { internal_error: 1.0, ..Faults::default() }, "500"),
        (Faults { unavailable: 1.0, ..Faults::default() }, "503"),
        (Faults { too_many: 1.0, ..Faults::default() }, "429"),
    ] {
        s3.fail(&faults)?;
        let error = client.get(&path).await.err().context("it was answered")?;
        assert!(format!("{error:?}").contains(status), "{error:?}");
    }

    s3.fail(&Faults { hangs: 1.0, ..Faults::default() })?;
    let started = Instant::now();
    assert!(client.get(&path).await.is_err());
    assert!(started.elapsed() >= Duration::from_secs(2));

    s3.fail(&Faults { reply_lost: 1.0, ..Faults::default() })?;
    let other = Path::from("other");
    assert!(client.put(&other, bytes.clone().into()).await.is_err());
    s3.fail(&Faults::default())?;
    assert_eq!(client.get(&other).await?.bytes().await?, bytes);

    s3.fail(&Faults { slow: 1.0, ..Faults::default() })?;
    let started = Instant::now();
    assert_eq!(client.get(&path).await?.bytes().await?, bytes);
    assert!(started.elapsed() >= Duration::from_millis(100));

    s3.fail(&Faults { cut: 1.0, ..Faults::default() })?;
    let cut = match client.get(&path).await {
        Ok(answer) => answer.bytes().await,
        Err(error) => Err(error),
    };
    assert!(cut.is_err());

    s3.fail(&Faults { short: 1.0, ..Faults::default() })?;
    let short = match client.get_range(&path, 0..1000).await {
        Ok(bytes) => bytes.len(),
        Err(_) => 999,
    };
    assert_eq!(short, 999);

    s3.fail(&Faults { list_lag_ms: 1500, ..Faults::default() })?;
    client.put(&Path::from("new"), bytes.into()).await?;
    assert!(!names(&client).await?.contains(&"new".to_owned()));
    tokio::time::sleep(Duration::from_millis(1600)).await;
    assert_eq!(names(&client).await?, ["new", "object", "other"]);

    let counts = s3.counts()?;
    for fault in ["500", "503", "429", "hangs", "reply_lost", "slow", "cut", "short", "left_out"] {
        assert!(counts.get(fault).is_some_and(|count| *count > 0), "{fault}: {counts:?}");
    }
    Ok(())
}
