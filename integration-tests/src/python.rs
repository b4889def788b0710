//! A gRPC client in another language, which knows a service from what its reflection says.

use std::{
    io::Write,
    net::SocketAddr,
    process::{Command, Stdio},
};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::{installed, source};

/// Makes calls to `target`, with stubs from what `reflection` says. `clients/python/calls.py` says what calls and answers are.
///
/// # Errors
/// When the client cannot be run, or knows no such method or field.
pub fn call(reflection: SocketAddr, target: SocketAddr, calls: &Value) -> Result<Vec<Value>> {
    let source = source("clients/python/calls.py");
    let mut client = Command::new(installed("python/bin/python")?)
        .arg(source)
        .args([reflection.to_string(), target.to_string()])
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    client.stdin.take().context("stdin")?.write_all(calls.to_string().as_bytes())?;
    let output = client.wait_with_output()?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let answers: Vec<Value> = serde_json::from_slice(&output.stdout)?;
    ensure!(Some(answers.len()) == calls.as_array().map(Vec::len));
    Ok(answers)
}
