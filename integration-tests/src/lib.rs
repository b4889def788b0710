//! Starts agents and collectors as real processes, on free loopback ports, with data folders of their own.

pub mod faults;
pub mod python;
pub mod s3;
pub mod shop;

use std::{
    fs::File,
    net::{SocketAddr, TcpListener},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::atomic::{AtomicU32, Ordering},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};

use crate::s3::S3;

/// How long a program may take to serve.
const START: Duration = Duration::from_secs(30);

/// A program of the workspace, built beside the running test.
///
/// # Errors
/// When it was not built: `make test` builds it.
pub fn program(name: &str) -> Result<PathBuf> {
    let test = std::env::current_exe()?;
    let folder = test.ancestors().nth(2).context("the test does not lie in a target folder")?;
    let program = folder.join(name);
    ensure!(
        program.exists(),
        "{} is missing: build it with `cargo build --workspace` or run `make test`",
        program.display()
    );
    Ok(program)
}

/// A file of this crate's folder. Of the clone that runs the test: clones that share a target folder share programs too.
#[must_use]
pub fn source(path: &str) -> PathBuf {
    let folder = std::env::var_os("CARGO_MANIFEST_DIR").unwrap_or_else(|| env!("CARGO_MANIFEST_DIR").into());
    Path::new(&folder).join(path)
}

/// A loopback address with a port that is free now, and that nobody gets for an outgoing connection: it is still free
/// when a program is started again.
///
/// # Errors
/// When there is none.
pub fn free_address() -> Result<SocketAddr> {
    // Below the ports that systems give by themselves (Linux: from 32768 on). Tests that run at once start apart.
    const PORTS: std::ops::Range<u32> = 10_000..32_000;
    static NEXT: AtomicU32 = AtomicU32::new(0);
    for _ in PORTS {
        let next = NEXT.fetch_add(1, Ordering::Relaxed).wrapping_add(std::process::id().wrapping_mul(97));
        let port = PORTS.start + next % (PORTS.end - PORTS.start);
        let address = SocketAddr::from(([127, 0, 0, 1], port as u16));
        if TcpListener::bind(address).is_ok() {
            return Ok(address);
        }
    }
    bail!("no port is free")
}

/// A running program. It is killed when this is dropped.
#[derive(Debug)]
pub struct Process {
    child: Child,
    name: &'static str,
    /// Where its log lines go.
    pub log: PathBuf,
}

impl Process {
    fn start(
        name: &'static str,
        data: &Path,
        arguments: &[String],
        environment: &[(String, String)],
        ready: SocketAddr,
    ) -> Result<Self> {
        std::fs::create_dir_all(data)?;
        let log = data.with_extension("log");
        let output = File::options().create(true).append(true).open(&log)?;
        let child = Command::new(program(name)?)
            .args(arguments)
            .envs(environment.iter().cloned())
            .stdin(Stdio::null())
            .stdout(output.try_clone()?)
            .stderr(output)
            .spawn()
            .with_context(|| format!("cannot start {name}"))?;
        let mut process = Self { child, name, log };
        process.wait_ready(ready)?;
        Ok(process)
    }

    fn wait_ready(&mut self, address: SocketAddr) -> Result<()> {
        let started = Instant::now();
        while get(address, "/ready").is_none_or(|(status, _)| status != 200) {
            if let Some(status) = self.child.try_wait()? {
                bail!("{} ended with {status}:\n{}", self.name, self.log_text());
            }
            ensure!(started.elapsed() < START, "{} is not ready after {START:?}:\n{}", self.name, self.log_text());
            std::thread::sleep(Duration::from_millis(10));
        }
        Ok(())
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What it logged.
    pub fn log_text(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// kill -9.
    ///
    /// # Errors
    /// When it is not there.
    pub fn kill(&mut self) -> Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    /// SIGTERM, without waiting.
    ///
    /// # Errors
    /// When it is not there.
    pub fn terminate(&self) -> Result<()> {
        let pid = rustix::process::Pid::from_child(&self.child);
        Ok(rustix::process::kill_process(pid, rustix::process::Signal::TERM)?)
    }

    /// SIGTERM; then waits for its end. Says whether it exited with 0.
    ///
    /// # Errors
    /// When it does not end within `limit`.
    pub fn stop(&mut self, limit: Duration) -> Result<bool> {
        self.terminate()?;
        Ok(self.wait(limit)?.success())
    }

    /// Waits for its end.
    ///
    /// # Errors
    /// When it does not end within `limit`.
    pub fn wait(&mut self, limit: Duration) -> Result<std::process::ExitStatus> {
        let started = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait()? {
                return Ok(status);
            }
            ensure!(started.elapsed() < limit, "{} did not end within {limit:?}:\n{}", self.name, self.log_text());
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The most memory of a process that was ever resident, in bytes.
pub fn peak_bytes(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok()).unwrap_or(u64::MAX / 1024) * 1024
}

/// GET over HTTP/1.1; the status and the body, or None when nobody answers.
pub fn get(address: SocketAddr, path: &str) -> Option<(u16, String)> {
    use std::io::{Read, Write};
    let mut stream = std::net::TcpStream::connect_timeout(&address, Duration::from_secs(1)).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(5))).ok()?;
    write!(stream, "GET {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n").ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    let (head, body) = answer.split_once("\r\n\r\n")?;
    Some((head.split(' ').nth(1)?.parse().ok()?, body.to_owned()))
}

/// Something that `setup.sh` installs.
///
/// # Errors
/// When it is not there.
pub fn installed(path: &str) -> Result<PathBuf> {
    let tools = match std::env::var_os("CLEW_TEST_TOOLS") {
        Some(tools) => PathBuf::from(tools),
        None => {
            let test = std::env::current_exe()?;
            let target = test.ancestors().nth(3).context("the test does not lie in a target folder")?;
            target.join("test-tools")
        }
    };
    let path = tools.join(path);
    ensure!(
        path.exists(),
        "{} is missing: run `make test`, or integration-tests/setup.sh with the same CARGO_TARGET_DIR",
        path.display()
    );
    Ok(path)
}

/// The longest wait for a collector to have everything in blocks.
const SETTLE: Duration = Duration::from_secs(120);

/// The files of this name below a folder, in order.
pub fn files(folder: &Path, name: &str) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            found.extend(files(&path, name)?);
        } else if path.ends_with(name) {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

/// The value of a metric, as the admin port shows it; with labels its whole series name. 0 when it is not there.
pub fn metric(admin: SocketAddr, name: &str) -> f64 {
    let (_, text) = get(admin, "/metrics").unwrap_or_default();
    let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    value.and_then(|value| value.trim().parse().ok()).unwrap_or(0.0)
}

/// The flags of a collector's ports.
const PORTS: [&str; 6] = ["grpc", "http", "web", "tempo", "jaeger", "admin"];

/// A collector and where it listens. The same one, with the same data and ports, can be started again after a kill.
#[derive(Debug)]
pub struct Collector {
    /// The process.
    pub process: Process,
    /// Its data.
    pub data: PathBuf,
    /// Further flags.
    pub flags: Vec<String>,
    /// Further environment variables.
    pub environment: Vec<(String, String)>,
    /// Where it listens.
    pub grpc: SocketAddr,
    /// OTLP over HTTP.
    pub http: SocketAddr,
    /// The web port.
    pub web: SocketAddr,
    /// Tempo's API.
    pub tempo: SocketAddr,
    /// Jaeger's API over gRPC.
    pub jaeger: SocketAddr,
    /// The admin port.
    pub admin: SocketAddr,
}

impl Collector {
    /// Starts one with its data in `dir`.
    ///
    /// # Errors
    /// When it does not serve soon.
    pub fn start(dir: &Path, flags: &[&str]) -> Result<Self> {
        Self::start_in(dir, flags, Vec::new())
    }

    /// Starts one with its data in `dir` and these environment variables.
    ///
    /// # Errors
    /// When it does not serve soon.
    pub fn start_with(dir: &Path, environment: Vec<(String, String)>, flags: &[&str]) -> Result<Self> {
        Self::start_in(dir, flags, environment)
    }

    /// Starts one with its data in `dir` and its blocks in an S3 server, below `prefix`.
    ///
    /// # Errors
    /// When it does not serve soon.
    pub fn start_on(dir: &Path, store: &S3, prefix: &str, flags: &[&str]) -> Result<Self> {
        let place = format!("--store={}", store.place(prefix));
        Self::start_in(dir, &[&[place.as_str()], flags].concat(), store.environment())
    }

    /// Waits until no span is in memory, and blocks are no longer merged.
    ///
    /// # Errors
    /// When that takes long, or a block is damaged.
    pub fn settle(&self) -> Result<()> {
        const STILL: Duration = Duration::from_secs(3);
        let state = || {
            let of = |name| metric(self.admin, &format!("clew_collector_{name}")) as u64;
            (of("memtable_batches"), of("blocks"), of("damaged_blocks"))
        };
        let started = Instant::now();
        let (mut before, mut since) = (state(), Instant::now());
        while before.0 > 0 || since.elapsed() < STILL {
            ensure!(started.elapsed() < SETTLE, "batches in memory, blocks, damaged ones: {before:?}");
            std::thread::sleep(Duration::from_millis(100));
            let now = state();
            if now != before {
                (before, since) = (now, Instant::now());
            }
        }
        ensure!(before.1 > 0 && before.2 == 0, "batches in memory, blocks, damaged ones: {before:?}");
        Ok(())
    }

    fn start_in(dir: &Path, flags: &[&str], environment: Vec<(String, String)>) -> Result<Self> {
        let mut addresses = [SocketAddr::from(([127, 0, 0, 1], 0)); PORTS.len()];
        for address in &mut addresses {
            *address = free_address()?;
        }
        let [grpc, http, web, tempo, jaeger, admin] = addresses;
        let (data, flags) = (dir.to_owned(), flags.iter().map(|flag| (*flag).to_owned()).collect::<Vec<_>>());
        let arguments = Self::arguments(&data, &flags, addresses);
        let process = Process::start("clew-collector", &data, &arguments, &environment, admin)?;
        Ok(Self { process, data, flags, environment, grpc, http, web, tempo, jaeger, admin })
    }

    fn arguments(data: &Path, flags: &[String], addresses: [SocketAddr; PORTS.len()]) -> Vec<String> {
        PORTS
            .iter()
            .zip(addresses)
            .map(|(name, address)| format!("--{name}={address}"))
            .chain([format!("--data={}", data.display())])
            .chain(flags.iter().cloned())
            .collect()
    }

    /// Starts it again, after it was killed or stopped.
    ///
    /// # Errors
    /// When it does not serve soon.
    pub fn restart(&mut self) -> Result<()> {
        let addresses = [self.grpc, self.http, self.web, self.tempo, self.jaeger, self.admin];
        let arguments = Self::arguments(&self.data, &self.flags, addresses);
        self.process = Process::start("clew-collector", &self.data, &arguments, &self.environment, self.admin)?;
        Ok(())
    }

    /// Its gRPC port as a URL.
    pub fn url(&self) -> String {
        format!("http://{}", self.grpc)
    }

    /// Its Tempo API as a URL.
    pub fn tempo_url(&self) -> String {
        format!("http://{}", self.tempo)
    }
}

/// An agent and where it listens.
#[derive(Debug)]
pub struct Agent {
    /// The process.
    pub process: Process,
    /// Its data.
    pub data: PathBuf,
    /// All its flags but the ports and the data.
    pub flags: Vec<String>,
    /// Further environment variables.
    pub environment: Vec<(String, String)>,
    /// OTLP over gRPC.
    pub grpc: SocketAddr,
    /// OTLP over HTTP.
    pub http: SocketAddr,
    /// The admin port.
    pub admin: SocketAddr,
}

impl Agent {
    /// Starts one with its data in `dir` that sends to `collectors`.
    ///
    /// # Errors
    /// When it does not serve soon.
    pub fn start(dir: &Path, collectors: &[String], flags: &[&str]) -> Result<Self> {
        Self::start_with(dir, Vec::new(), collectors, flags)
    }

    /// The same, with these environment variables.
    ///
    /// # Errors
    /// When it does not serve soon.
    pub fn start_with(
        dir: &Path,
        environment: Vec<(String, String)>,
        collectors: &[String],
        flags: &[&str],
    ) -> Result<Self> {
        let [grpc, http, admin] = [free_address()?, free_address()?, free_address()?];
        let collectors = collectors.iter().map(|url| format!("--collector={url}"));
        let flags: Vec<String> = collectors.chain(flags.iter().map(|flag| (*flag).to_owned())).collect();
        let data = dir.to_owned();
        let process = Self::spawn(&data, &flags, &environment, [grpc, http, admin])?;
        Ok(Self { process, data, flags, environment, grpc, http, admin })
    }

    fn spawn(
        data: &Path,
        flags: &[String],
        environment: &[(String, String)],
        [grpc, http, admin]: [SocketAddr; 3],
    ) -> Result<Process> {
        let arguments: Vec<String> = [("grpc", grpc), ("http", http), ("admin", admin)]
            .iter()
            .map(|(name, address)| format!("--{name}={address}"))
            .chain([format!("--data={}", data.display())])
            .chain(flags.iter().cloned())
            .collect();
        Process::start("clew-agent", data, &arguments, environment, admin)
    }

    /// Starts it again, after it was killed or stopped.
    ///
    /// # Errors
    /// When it does not serve soon.
    pub fn restart(&mut self) -> Result<()> {
        self.process = Self::spawn(&self.data, &self.flags, &self.environment, [self.grpc, self.http, self.admin])?;
        Ok(())
    }

    /// OTLP over gRPC as a URL.
    pub fn grpc_url(&self) -> String {
        format!("http://{}", self.grpc)
    }

    /// OTLP over HTTP as a URL.
    pub fn http_url(&self) -> String {
        format!("http://{}", self.http)
    }

    /// Waits until nothing waits in its queue.
    ///
    /// # Errors
    /// When something still does after `limit`.
    pub fn wait_sent(&self, limit: Duration) -> Result<()> {
        let started = Instant::now();
        while metric(self.admin, "clew_agent_queue_waiting_batches") > 0.0 {
            ensure!(started.elapsed() < limit, "spans still wait after {limit:?}:\n{}", self.process.log_text());
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }
}
