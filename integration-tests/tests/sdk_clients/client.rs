//! Runs a client and reads what it made.

use std::{path::Path, process::Command};

use anyhow::{Context, Result, ensure};
use clew_integration_tests::installed;
use serde_json::Value;

use crate::rust_client;

/// Whose SDK.
#[derive(Clone, Copy, Debug)]
pub enum Client {
    Python,
    Go,
    JavaScript,
    Java,
    Rust,
}

/// How OTLP is carried.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Protocol {
    Grpc,
    HttpProtobuf,
    HttpJson,
}

/// Whether requests are compressed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Compression {
    None,
    Gzip,
}

impl Client {
    /// Makes the traces, sends them to `url` and says what was made: a list of spans in the form of `clients/README.md`.
    pub fn run(self, protocol: Protocol, url: &str, compression: Compression) -> Result<Vec<Value>> {
        let document = match self {
            Self::Rust => rust_client::run(protocol, url, compression)?,
            _ => {
                let protocol = match protocol {
                    Protocol::Grpc => "grpc",
                    Protocol::HttpProtobuf => "http-protobuf",
                    Protocol::HttpJson => "http-json",
                };
                let compression = match compression {
                    Compression::None => "none",
                    Compression::Gzip => "gzip",
                };
                output(self.command()?.args([protocol, url, compression]))?
            }
        };
        let spans = document["spans"].as_array().context("the client's document has no spans")?;
        ensure!(spans.len() >= 10, "the client made only {} spans", spans.len());
        Ok(spans.clone())
    }

    fn command(self) -> Result<Command> {
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("clients");
        let mut command = match self {
            Self::Python => {
                let mut command = Command::new(installed("python/bin/python")?);
                command.arg(source.join("python/client.py")).env("PYTHONDONTWRITEBYTECODE", "1");
                command
            }
            Self::Go => Command::new(installed("go/client")?),
            Self::JavaScript => {
                let mut command = Command::new("node");
                command.env("NODE_PATH", installed("javascript/node_modules")?);
                command.arg(source.join("javascript/client.js"));
                command
            }
            Self::Java => {
                let mut command = Command::new("java");
                let (classes, libraries) = (installed("java/classes")?, installed("java/lib")?);
                // The second-stage compiler does not pay for itself in a program of two seconds.
                command.args(["-XX:TieredStopAtLevel=1", "-Xshare:auto", "-cp"]);
                command.arg(format!("{}:{}/*", classes.display(), libraries.display())).arg("clew.client.Client");
                command
            }
            Self::Rust => unreachable!("it runs in this process"),
        };
        // What the shell that runs the tests has set for its own tools is not for the clients.
        for (name, _) in std::env::vars_os().filter(|(name, _)| name.as_encoded_bytes().starts_with(b"OTEL_")) {
            command.env_remove(name);
        }
        Ok(command)
    }
}

fn output(command: &mut Command) -> Result<Value> {
    let output = command.output().with_context(|| format!("cannot run {command:?}"))?;
    let complaints = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{command:?} ended with {}:\n{complaints}", output.status);
    // Values are nested deeply in it.
    let mut document = serde_json::Deserializer::from_slice(&output.stdout);
    document.disable_recursion_limit();
    let document = document.into_iter().next().context("nothing was printed").and_then(|document| Ok(document?));
    document.with_context(|| format!("{command:?} printed no document:\n{complaints}"))
}
