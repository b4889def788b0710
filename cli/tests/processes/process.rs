//! Starts the real `clew` on free ports, and asks it.

use std::{
    fs::File,
    net::{SocketAddr, TcpListener},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Output, Stdio},
    time::{Duration, Instant},
};

use opentelemetry_proto::tonic::trace::v1::TracesData;
use prost::Message;
use rustix::process::{Pid, Signal, kill_process};

/// How long anything may take.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Where `clew up` and `clew demo` listen in a test.
#[derive(Clone, Debug)]
pub struct Ports {
    flags: Vec<String>,
    pub agent_http: SocketAddr,
    pub agent_admin: SocketAddr,
    pub collector_admin: SocketAddr,
    pub collector_grpc: SocketAddr,
    pub tempo: SocketAddr,
}

impl Ports {
    /// Ports that are free now.
    pub fn free() -> Self {
        let names = ["agent-grpc", "agent-http", "agent-admin", "collector-grpc", "collector-http", "collector-admin"];
        let names: Vec<&str> = names.into_iter().chain(["web", "tempo", "jaeger"]).collect();
        let held: Vec<TcpListener> = names.iter().map(|_| TcpListener::bind("127.0.0.1:0").unwrap()).collect();
        let at = |name: &str| held[names.iter().position(|known| *known == name).unwrap()].local_addr().unwrap();
        Self {
            flags: names.iter().map(|name| format!("--{name}={}", at(name))).collect(),
            agent_http: at("agent-http"),
            agent_admin: at("agent-admin"),
            collector_admin: at("collector-admin"),
            collector_grpc: at("collector-grpc"),
            tempo: at("tempo"),
        }
    }
}

/// A running `clew`. It is killed when this is dropped.
#[derive(Debug)]
pub struct Clew {
    child: Child,
    output: PathBuf,
}

impl Clew {
    /// Starts `clew SUBCOMMAND` with its data in `data`; what it says goes to a file beside it.
    pub fn start(subcommand: &str, data: &Path, ports: &Ports, further: &[&str]) -> Self {
        let output = data.with_extension(format!("{subcommand}.out"));
        let file = File::create(&output).unwrap();
        let child = Command::new(env!("CARGO_BIN_EXE_clew"))
            .arg(subcommand)
            .arg("--data")
            .arg(data)
            .args(&ports.flags)
            .args(further)
            .stdin(Stdio::null())
            .stdout(file.try_clone().unwrap())
            .stderr(file)
            .spawn()
            .unwrap();
        Self { child, output }
    }

    /// Everything it said.
    pub fn said(&self) -> String {
        std::fs::read_to_string(&self.output).unwrap()
    }

    /// Waits until both admin ports say that they serve.
    pub async fn wait_ready(&mut self, ports: &Ports) {
        let started = Instant::now();
        for admin in [ports.agent_admin, ports.collector_admin] {
            let url = format!("http://{admin}/ready");
            while get(&url).await.is_none_or(|(status, _)| status != 200) {
                assert!(self.child.try_wait().unwrap().is_none(), "it ended:\n{}", self.said());
                assert!(started.elapsed() < PATIENCE, "it does not serve:\n{}", self.said());
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
    }

    /// Sends SIGTERM.
    pub fn terminate(&self) {
        kill_process(Pid::from_child(&self.child), Signal::TERM).unwrap();
    }

    /// Waits for its end.
    pub fn wait(&mut self) -> ExitStatus {
        let started = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(started.elapsed() < PATIENCE, "it does not end:\n{}", self.said());
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Clew {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Runs `clew` with these arguments to its end.
pub fn run(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_clew")).args(arguments).stdin(Stdio::null()).output().unwrap()
}

async fn get(url: &str) -> Option<(u16, Vec<u8>)> {
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let response = client.get(url).header("accept", "application/protobuf").send().await.ok()?;
    Some((response.status().as_u16(), response.bytes().await.ok()?.to_vec()))
}

/// Posts protobuf over HTTP; the answer's status.
pub async fn post(url: &str, body: Vec<u8>) -> u16 {
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let request = client.post(url).header("content-type", "application/x-protobuf").body(body);
    request.send().await.unwrap().status().as_u16()
}

/// The first field of Tempo's TraceByIDResponse.
#[derive(Clone, PartialEq, Message)]
struct TraceById {
    #[prost(message, optional, tag = "1")]
    trace: Option<TracesData>,
}

/// The trace of this id, over Tempo's API; None when it is unknown.
pub async fn trace(ports: &Ports, trace_id: &str) -> Option<TracesData> {
    let (status, body) = get(&format!("http://{}/api/v2/traces/{trace_id}", ports.tempo)).await.unwrap();
    match status {
        200 => TraceById::decode(body.as_slice()).unwrap().trace,
        404 => None,
        status => panic!("{status}: {}", String::from_utf8_lossy(&body)),
    }
}

/// The same, once it is there: a span is found within a moment of its ack.
pub async fn found(ports: &Ports, trace_id: &str) -> TracesData {
    let started = Instant::now();
    loop {
        if let Some(trace) = trace(ports, trace_id).await {
            return trace;
        }
        assert!(started.elapsed() < PATIENCE, "trace {trace_id} is not there");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
