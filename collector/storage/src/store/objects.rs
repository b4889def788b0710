//! A store in a bucket of an object store that speaks S3.
//!
//! Calls block whoever makes them, also a thread of an async runtime; requests run on a runtime of the store's own. What
//! may be gone later (5xx, 429, time-outs, broken connections, answers of a wrong length) is tried again. All requests may
//! be carried out twice: a PUT whose answer is lost is put again with the same bytes.

use std::{
    future::Future,
    io,
    ops::Range,
    sync::{Arc, mpsc},
    time::{Duration, Instant},
};

use bytes::Bytes;
use clew_common::{backoff::Backoff, world::Random};
use futures_util::TryStreamExt;
use object_store::{
    ClientConfigKey, Error, MultipartId, ObjectStore, ObjectStoreExt, RetryConfig,
    aws::{AmazonS3, AmazonS3Builder, AmazonS3ConfigKey},
    multipart::{MultipartStore, PartId},
    path::Path,
};
use tokio::runtime::{Builder, Handle, Runtime};

use super::{Listed, Sink, Source, Store, StoreError};

/// When to lose patience.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// Of one request, with its body.
    pub request: Duration,
    /// After so long no request is tried once more.
    pub retries: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self { request: Duration::from_secs(20), retries: Duration::from_secs(60) }
    }
}

/// A bucket, or what is below a prefix in one. Cheap to clone.
#[derive(Clone)]
pub struct Objects(Arc<Inner>);

struct Inner {
    s3: AmazonS3,
    prefix: String,
    patience: Patience,
    random: Random,
    /// None once it is dropped: a runtime must not be waited for in another one.
    runtime: Option<Runtime>,
    handle: Handle,
}

impl Drop for Inner {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// Parts of large files; S3 wants at least 5 MiB, and at most 10,000 of them.
const PART_BYTES: usize = 8 << 20;
/// An answer that is too short so many times in a row is the truth.
const MAX_SHORT: usize = 4;

impl Objects {
    /// The store at `bucket/prefix`. Where S3 is and who asks is in the environment: `AWS_ENDPOINT_URL`, `AWS_REGION`,
    /// `AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY`, `AWS_ALLOW_HTTP` and so on.
    ///
    /// # Errors
    /// When the environment says something impossible.
    pub fn from_env(place: &str, patience: Patience, random: Random) -> io::Result<Self> {
        Self::new(AmazonS3Builder::from_env(), place, patience, random)
    }

    /// The store at `bucket/prefix` of an S3 that `builder` describes.
    ///
    /// # Errors
    /// When it describes something impossible.
    pub fn new(builder: AmazonS3Builder, place: &str, patience: Patience, random: Random) -> io::Result<Self> {
        let (bucket, prefix) = place.split_once('/').unwrap_or((place, ""));
        let prefix = prefix.trim_matches('/').to_owned();
        Path::parse(&prefix).map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))?;
        let timeout = AmazonS3ConfigKey::Client(ClientConfigKey::Timeout);
        let s3 = builder
            .with_bucket_name(bucket)
            .with_config(timeout, format!("{} ms", patience.request.as_millis()))
            .with_retry(RetryConfig { max_retries: 0, ..RetryConfig::default() })
            .build()
            .map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))?;
        let runtime = Builder::new_multi_thread().worker_threads(1).thread_name("objects").enable_all().build()?;
        let handle = runtime.handle().clone();
        Ok(Self(Arc::new(Inner { s3, prefix, patience, random, runtime: Some(runtime), handle })))
    }

    fn place(&self, doing: &'static str, path: &str) -> Result<Path, StoreError> {
        let prefix = &self.0.prefix;
        let whole = if prefix.is_empty() { path.to_owned() } else { format!("{prefix}/{path}") };
        let invalid = |why: String| StoreError {
            doing,
            path: path.to_owned(),
            error: io::Error::new(io::ErrorKind::InvalidInput, why),
        };
        if path.is_empty() || path.starts_with('/') || path.ends_with('/') {
            return Err(invalid("the path names no file of the store".to_owned()));
        }
        Path::parse(whole).map_err(|error| invalid(error.to_string()))
    }

    /// Runs a request until it succeeds, fails for good, or patience ends.
    fn call<T: Send + 'static, F: Future<Output = Result<T, Failed>> + Send>(
        &self,
        doing: &'static str,
        path: &str,
        request: impl Fn(Arc<Inner>) -> F + Send + 'static,
    ) -> Result<T, StoreError> {
        let (send, receive) = mpsc::sync_channel(1);
        let inner = self.0.clone();
        self.0.handle.spawn(async move {
            // Nobody waits for it: then it does not matter.
            let _ = send.send(retried(&inner, request).await);
        });
        let done = receive.recv().unwrap_or_else(|_| Err(io::Error::other("the request was given up")));
        done.map_err(|error| StoreError { doing, path: path.to_owned(), error })
    }
}

/// Why one request failed.
enum Failed {
    Request(Error),
    /// The answer has so many bytes less than it should.
    Short(u64),
}

impl From<Error> for Failed {
    fn from(error: Error) -> Self {
        Self::Request(error)
    }
}

async fn retried<T, F: Future<Output = Result<T, Failed>>>(
    inner: &Arc<Inner>,
    request: impl Fn(Arc<Inner>) -> F,
) -> io::Result<T> {
    let started = Instant::now();
    let mut backoff = Backoff::new(Duration::from_millis(50), Duration::from_secs(5));
    let mut short = 0;
    loop {
        let kind = match request(inner.clone()).await {
            Ok(done) => return Ok(done),
            Err(Failed::Short(missing)) => {
                short += 1;
                if short == MAX_SHORT {
                    let why = format!("the file is shorter than it should be: {missing} bytes are missing");
                    return Err(io::Error::new(io::ErrorKind::UnexpectedEof, why));
                }
                None
            }
            Err(Failed::Request(error)) => {
                let kind = kind_of(&error);
                if kind != io::ErrorKind::TimedOut {
                    return Err(io::Error::new(kind, error));
                }
                Some(error)
            }
        };
        let wait = backoff.next(&inner.random);
        if started.elapsed() + wait > inner.patience.retries {
            let why: Box<dyn std::error::Error + Send + Sync> =
                kind.map_or_else(|| "answers are too short".into(), Into::into);
            return Err(io::Error::new(io::ErrorKind::TimedOut, why));
        }
        tokio::time::sleep(wait).await;
    }
}

/// TimedOut for what may be gone later.
fn kind_of(error: &Error) -> io::ErrorKind {
    match error {
        Error::NotFound { .. } => io::ErrorKind::NotFound,
        Error::PermissionDenied { .. } | Error::Unauthenticated { .. } => io::ErrorKind::PermissionDenied,
        Error::InvalidPath { .. } => io::ErrorKind::InvalidInput,
        Error::Generic { .. } | Error::JoinError { .. } => io::ErrorKind::TimedOut,
        _ => io::ErrorKind::Other,
    }
}

impl Store for Objects {
    fn put(&self, path: &str, bytes: Bytes) -> Result<(), StoreError> {
        let place = self.place("write", path)?;
        self.call("write", path, move |inner| {
            let (place, bytes) = (place.clone(), bytes.clone());
            async move { Ok(inner.s3.put(&place, bytes.into()).await.map(drop)?) }
        })
    }

    fn create(&self, path: &str) -> Result<Box<dyn Sink>, StoreError> {
        let place = self.place("create", path)?;
        let (store, path) = (self.clone(), path.to_owned());
        Ok(Box::new(Upload { store, path, place, id: None, parts: Vec::new(), buffer: Vec::new(), written: 0 }))
    }

    fn read(&self, path: &str, range: Range<u64>) -> Result<Bytes, StoreError> {
        let place = self.place("read", path)?;
        if range.is_empty() {
            return Ok(Bytes::new());
        }
        self.call("read", path, move |inner| {
            let (place, range) = (place.clone(), range.clone());
            async move {
                let wanted = range.end - range.start;
                let bytes = inner.s3.get_range(&place, range).await?;
                if bytes.len() as u64 == wanted {
                    Ok(bytes)
                } else {
                    Err(Failed::Short(wanted.saturating_sub(bytes.len() as u64)))
                }
            }
        })
    }

    fn open(&self, path: &str) -> Result<Arc<dyn Source>, StoreError> {
        Ok(Arc::new(Object { store: self.clone(), path: path.to_owned() }))
    }

    fn size(&self, path: &str) -> Result<u64, StoreError> {
        let place = self.place("look at", path)?;
        self.call("look at", path, move |inner| {
            let place = place.clone();
            async move { Ok(inner.s3.head(&place).await?.size) }
        })
    }

    fn list(&self, prefix: &str) -> Result<Vec<Listed>, StoreError> {
        let root = &self.0.prefix;
        let place = match (root.is_empty(), prefix.is_empty()) {
            (true, true) => None,
            (false, true) => Some(Path::from(root.as_str())),
            _ => Some(self.place("list", prefix)?),
        };
        let skip = if root.is_empty() { 0 } else { root.len() + 1 };
        self.call("list", prefix, move |inner| {
            let place = place.clone();
            async move {
                let listed = inner.s3.list(place.as_ref()).map_ok(|object| Listed {
                    path: object.location.as_ref().get(skip..).unwrap_or_default().to_owned(),
                    bytes: object.size,
                });
                Ok(listed.try_collect().await?)
            }
        })
    }

    fn delete(&self, path: &str) -> Result<(), StoreError> {
        let place = self.place("delete", path)?;
        self.call("delete", path, move |inner| {
            let place = place.clone();
            async move {
                match inner.s3.delete(&place).await {
                    Ok(()) | Err(Error::NotFound { .. }) => Ok(()),
                    Err(error) => Err(error.into()),
                }
            }
        })
    }

    fn is_remote(&self) -> bool {
        true
    }
}

struct Object {
    store: Objects,
    path: String,
}

impl Source for Object {
    fn read(&self, range: Range<u64>) -> Result<Bytes, StoreError> {
        self.store.read(&self.path, range)
    }

    fn read_all(&self, ranges: Vec<Range<u64>>) -> Result<Vec<Bytes>, StoreError> {
        let place = self.store.place("read", &self.path)?;
        self.store.call("read", &self.path, move |inner| {
            let (place, ranges) = (place.clone(), ranges.clone());
            async move {
                let parts = inner.s3.get_ranges(&place, &ranges).await?;
                let missing =
                    |(range, part): (&Range<u64>, &Bytes)| (range.end - range.start).saturating_sub(part.len() as u64);
                match ranges.iter().zip(&parts).map(missing).find(|missing| *missing > 0) {
                    None => Ok(parts),
                    Some(missing) => Err(Failed::Short(missing)),
                }
            }
        })
    }

    fn is_remote(&self) -> bool {
        true
    }
}

/// A file on its way: a single PUT if it is small, parts otherwise.
struct Upload {
    store: Objects,
    path: String,
    place: Path,
    /// Of an upload that has begun.
    id: Option<MultipartId>,
    parts: Vec<PartId>,
    buffer: Vec<u8>,
    /// Bytes, with those in the buffer.
    written: u64,
}

impl Upload {
    fn put_part(&mut self) -> Result<(), StoreError> {
        let id = match &self.id {
            Some(id) => id.clone(),
            None => {
                let place = self.place.clone();
                let id = self.store.call("create", &self.path, move |inner| {
                    let place = place.clone();
                    async move { Ok(inner.s3.create_multipart(&place).await?) }
                })?;
                self.id.insert(id).clone()
            }
        };
        let (place, at) = (self.place.clone(), self.parts.len());
        let bytes = Bytes::from(std::mem::take(&mut self.buffer));
        let part = self.store.call("write", &self.path, move |inner| {
            let (place, id, bytes) = (place.clone(), id.clone(), bytes.clone());
            async move { Ok(inner.s3.put_part(&place, &id, at, bytes.into()).await?) }
        })?;
        self.parts.push(part);
        Ok(())
    }

    fn complete(&self, id: MultipartId) -> Result<(), StoreError> {
        let (place, parts, written) = (self.place.clone(), self.parts.clone(), self.written);
        self.store.call("write", &self.path, move |inner| {
            let (place, id, parts) = (place.clone(), id.clone(), parts.clone());
            async move {
                match inner.s3.complete_multipart(&place, &id, parts).await {
                    Ok(_) => Ok(()),
                    // It may be complete, and only the answer was lost.
                    Err(error) => match inner.s3.head(&place).await {
                        Ok(object) if object.size == written => Ok(()),
                        _ => Err(error.into()),
                    },
                }
            }
        })
    }
}

impl io::Write for Upload {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.buffer.extend_from_slice(bytes);
        self.written += bytes.len() as u64;
        if self.buffer.len() >= PART_BYTES {
            self.put_part().map_err(|error| io::Error::new(error.error.kind(), error))?;
        }
        Ok(bytes.len())
    }

    /// Nothing: small parts are not allowed.
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Sink for Upload {
    fn finish(mut self: Box<Self>) -> Result<u64, StoreError> {
        if self.id.is_none() {
            self.store.put(&self.path, std::mem::take(&mut self.buffer).into())?;
            return Ok(self.written);
        }
        if !self.buffer.is_empty() {
            self.put_part()?;
        }
        if let Some(id) = self.id.clone() {
            self.complete(id)?;
            self.id = None;
        }
        Ok(self.written)
    }
}

impl Drop for Upload {
    fn drop(&mut self) {
        let Some(id) = self.id.take() else { return };
        let (inner, place) = (self.store.0.clone(), self.place.clone());
        self.store.0.handle.spawn(async move {
            // Once, without waiting: a bucket's own rules take away what is left of uploads.
            if let Err(error) = inner.s3.abort_multipart(&place, &id).await {
                tracing::debug!(%place, %error, "cannot give up an upload");
            }
        });
    }
}
