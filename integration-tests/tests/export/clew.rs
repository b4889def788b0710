//! Runs `clew`, and collectors for it.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use clew_integration_tests::{Collector, metric, program};

use crate::spans::{self, Flat};

/// Nothing that is expected to happen takes longer than this.
pub const SOON: Duration = Duration::from_secs(60);

/// What a run of `clew` said.
#[derive(Debug)]
pub struct Said {
    pub success: bool,
    pub out: Vec<u8>,
    pub err: String,
}

impl From<Output> for Said {
    fn from(output: Output) -> Self {
        Self {
            success: output.status.success(),
            out: output.stdout,
            err: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }
}

impl Said {
    /// Its output, when it succeeded.
    pub fn well(self) -> Result<String> {
        let out = String::from_utf8_lossy(&self.out).into_owned();
        ensure!(self.success, "{out}{}", self.err);
        Ok(out)
    }

    /// What it said, when it failed.
    pub fn badly(self) -> Result<String> {
        let all = format!("{}{}", String::from_utf8_lossy(&self.out), self.err);
        ensure!(!self.success, "it should have failed: {all}");
        Ok(all)
    }
}

/// A command of `clew`.
pub fn command(arguments: &[&str]) -> Result<Command> {
    let mut command = Command::new(program("clew")?);
    command.args(arguments).stdin(Stdio::null());
    Ok(command)
}

/// Runs `clew`.
pub fn clew(arguments: &[&str]) -> Result<Said> {
    Ok(command(arguments)?.output().context("cannot run clew")?.into())
}

/// A folder for a test's files and collectors.
pub struct Dir(tempfile::TempDir);

impl Dir {
    /// A new one.
    pub fn new() -> Result<Self> {
        Ok(Self(tempfile::tempdir()?))
    }

    /// A path in it.
    pub fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// The same as text.
    pub fn text(&self, name: &str) -> String {
        self.path(name).display().to_string()
    }

    /// A collector with its data here. Between a port's choice and its use another process may take it: then once more.
    pub fn collector(&self, name: &str, flags: &[&str]) -> Result<Collector> {
        for _ in 0..3 {
            match Collector::start(&self.path(name), flags) {
                Err(error) if format!("{error:#}").contains("Address already in use") => {}
                started => return started,
            }
        }
        Collector::start(&self.path(name), flags)
    }

    /// Writes messages to a file, each after its length; gives its path.
    pub fn write(&self, name: &str, messages: &[Vec<u8>]) -> Result<String> {
        std::fs::write(self.path(name), spans::delimited(messages))?;
        Ok(self.text(name))
    }
}

/// Imports files; says how many spans were imported.
pub fn import(collector: &Collector, files: &[&str], tenant: &str) -> Result<String> {
    let url = collector.url();
    clew(&[&["import", "--to", url.as_str(), "--tenant", tenant], files].concat())?.well()
}

/// All of a tenant's spans.
pub fn export(data: &Path, tenant: &str) -> Result<BTreeMap<Flat, usize>> {
    let data = data.display().to_string();
    let said = clew(&["export", "--data", &data, "--tenant", tenant, "--format", "protobuf"])?;
    ensure!(said.success, "{}", said.err);
    spans::of_delimited(&said.out)
}

/// Waits until all that was acked is in blocks.
pub fn wait_flushed(collector: &Collector) -> Result<()> {
    let started = Instant::now();
    while metric(collector.admin, "clew_collector_memtable_batches") > 0.0 {
        ensure!(started.elapsed() < SOON, "spans are in memory after {SOON:?}:\n{}", collector.process.log_text());
        std::thread::sleep(Duration::from_millis(50));
    }
    Ok(())
}
