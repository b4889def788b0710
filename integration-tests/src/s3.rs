//! An S3 server of the tests' own, over a folder, that fails when it is told to.
//!
//! With `CLEW_TEST_STORE=s3://bucket` it stands before the server that `AWS_*` name and lets through to it what does not fail.

use std::{
    collections::BTreeMap,
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use serde::{Deserialize, Serialize};

use crate::{free_address, get, program};

/// Who may use it.
pub const ACCESS_KEY: &str = "clew-tests";
/// With this.
pub const SECRET_KEY: &str = "not-a-secret-but-a-fixture";

/// Chances, 0 to 1, of what may happen to a request instead of what should.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Faults {
    /// Answered with 500, not carried out.
    pub internal_error: f64,
    /// Answered with 503, not carried out.
    pub unavailable: f64,
    /// Answered with 429, not carried out.
    pub too_many: f64,
    /// Never answered, not carried out.
    pub hangs: f64,
    /// PUT, POST and DELETE: carried out, never answered; the connection breaks.
    pub reply_lost: f64,
    /// GET: the body comes at 800 kB/s.
    pub slow: f64,
    /// GET: the connection breaks in the middle of the body.
    pub cut: f64,
    /// GET: a byte less than was asked for, and the answer's length says so.
    pub short: f64,
    /// For so long an object is missing in listings after it was written.
    pub list_lag_ms: u64,
    /// Only requests of this method have faults.
    pub only: Option<String>,
}

impl Faults {
    /// Some of each.
    pub fn all() -> Self {
        Self {
            internal_error: 0.04,
            unavailable: 0.04,
            too_many: 0.02,
            hangs: 0.002,
            reply_lost: 0.05,
            slow: 0.02,
            cut: 0.02,
            short: 0.01,
            list_lag_ms: 3000,
            only: None,
        }
    }
}

/// A running server. It is killed when this is dropped.
#[derive(Debug)]
pub struct S3 {
    child: Child,
    behind: Behind,
    prefix: String,
    listen: SocketAddr,
    control: SocketAddr,
}

/// Who keeps the objects.
#[derive(Debug)]
struct Behind {
    /// Name it to the program.
    flags: Vec<String>,
    bucket: String,
    access_key: String,
    secret_key: String,
    region: String,
}

impl Behind {
    fn folder(root: &Path) -> Self {
        let bucket = "traces".to_owned();
        let flags = vec![format!("--root={}", root.display()), format!("--bucket={bucket}")];
        let [access_key, secret_key, region] = [ACCESS_KEY, SECRET_KEY, "us-east-1"].map(str::to_owned);
        Self { flags, bucket, access_key, secret_key, region }
    }

    fn server(store: &str) -> Result<Self> {
        let bucket = store.strip_prefix("s3://").filter(|bucket| !bucket.contains('/'));
        let bucket = bucket.with_context(|| format!("CLEW_TEST_STORE is {store}; say s3://bucket"))?.to_owned();
        let variable = |name: &str| std::env::var(name).with_context(|| format!("CLEW_TEST_STORE needs {name} too"));
        Ok(Self {
            flags: vec![format!("--upstream={}", variable("AWS_ENDPOINT")?)],
            bucket,
            access_key: variable("AWS_ACCESS_KEY_ID")?,
            secret_key: variable("AWS_SECRET_ACCESS_KEY")?,
            region: variable("AWS_REGION")?,
        })
    }
}

impl S3 {
    /// Starts one that keeps its bucket in `root`, or that stands before another server.
    ///
    /// # Errors
    /// When it does not serve soon.
    pub fn start(root: &Path) -> Result<Self> {
        let behind = match std::env::var("CLEW_TEST_STORE") {
            Ok(store) => Behind::server(&store)?,
            Err(_) => Behind::folder(root),
        };
        let prefix = format!("{:016x}", rand::random::<u64>());
        let (listen, control) = (free_address()?, free_address()?);
        let child = Self::spawn(&behind, listen, control)?;
        Ok(Self { child, behind, prefix, listen, control })
    }

    fn spawn(behind: &Behind, listen: SocketAddr, control: SocketAddr) -> Result<Child> {
        let mut child = Command::new(program("clew-test-s3")?)
            .args(&behind.flags)
            .args([format!("--listen={listen}"), format!("--control={control}")])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .context("cannot start the S3 server")?;
        let started = Instant::now();
        while get(control, "/ready").is_none_or(|(status, _)| status != 200) {
            if let Some(status) = child.try_wait()? {
                bail!("the S3 server ended with {status}");
            }
            ensure!(started.elapsed() < Duration::from_secs(30), "the S3 server does not serve");
            std::thread::sleep(Duration::from_millis(10));
        }
        Ok(child)
    }

    /// Kills it: nobody answers any more.
    ///
    /// # Errors
    /// When it is not there.
    pub fn kill(&mut self) -> Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    /// Starts it again, without faults, with what it had stored.
    ///
    /// # Errors
    /// When it does not serve soon.
    pub fn restart(&mut self) -> Result<()> {
        self.child = Self::spawn(&self.behind, self.listen, self.control)?;
        Ok(())
    }

    /// The environment of those who use it.
    pub fn environment(&self) -> Vec<(String, String)> {
        let endpoint = format!("http://{}", self.listen);
        let pairs = [
            ("AWS_ACCESS_KEY_ID", self.behind.access_key.as_str()),
            ("AWS_SECRET_ACCESS_KEY", &self.behind.secret_key),
            ("AWS_REGION", &self.behind.region),
            ("AWS_ENDPOINT", &endpoint),
            ("AWS_ALLOW_HTTP", "true"),
        ];
        pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).into()
    }

    /// Its one bucket.
    pub fn bucket(&self) -> &str {
        &self.behind.bucket
    }

    /// What is below it is this test's, the rest of the bucket may be others'.
    pub fn prefix(&self) -> &str {
        &self.prefix
    }

    /// The place of a store in it, as `--store` takes it.
    pub fn place(&self, below: &str) -> String {
        format!("s3://{}/{}/{below}", self.bucket(), self.prefix)
    }

    /// From now on these faults happen, and no others.
    ///
    /// # Errors
    /// When it does not take them.
    pub fn fail(&self, faults: &Faults) -> Result<()> {
        let body = serde_json::to_string(faults)?;
        let mut stream = TcpStream::connect(self.control)?;
        stream.set_read_timeout(Some(Duration::from_secs(5)))?;
        let length = body.len();
        write!(
            stream,
            "POST /faults HTTP/1.1\r\nhost: s3\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}"
        )?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        ensure!(answer.starts_with("HTTP/1.1 200"), "the faults were not taken: {answer}");
        Ok(())
    }

    /// How many requests had which fault, and how many had none (`good`), since it started.
    ///
    /// # Errors
    /// When it does not answer.
    pub fn counts(&self) -> Result<BTreeMap<String, u64>> {
        let (_, body) = get(self.control, "/counts").context("the S3 server does not answer")?;
        Ok(serde_json::from_str(&body)?)
    }
}

impl Drop for S3 {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
