//! An S3 server for tests, over a folder or before another server, that fails when it is told to. It ends with whoever holds
//! its standard input.
//!
//! The control port: `POST /faults` with [`Faults`] as JSON, `GET /counts` for how many there were, `GET /ready`.

// Where it listens is a program's output.
#![allow(clippy::print_stdout)]

mod control;
mod faults;
mod layer;
mod server;

use std::{io::Read, net::SocketAddr, path::PathBuf, sync::Arc};

use anyhow::{Result, bail};
use clap::Parser;
use http::Uri;
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto::Builder,
};
use tokio::net::TcpListener;

use crate::{faults::State, layer::Layer, server::Server};

#[derive(Debug, Parser)]
struct Flags {
    /// Where buckets are folders
    #[arg(long)]
    root: Option<PathBuf>,
    /// A bucket to make there
    #[arg(long)]
    bucket: Option<String>,
    /// Instead of a folder: the server that carries out what does not fail, http://host:port
    #[arg(long)]
    upstream: Option<Uri>,
    /// Where S3 listens
    #[arg(long, default_value = "127.0.0.1:0")]
    listen: SocketAddr,
    /// Where it is told to fail
    #[arg(long, default_value = "127.0.0.1:0")]
    control: SocketAddr,
    /// Seed of the choice of requests that fail
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

#[tokio::main]
async fn main() -> Result<()> {
    let flags = Flags::parse();
    std::thread::spawn(|| {
        // Ends when the other end closes; an error means the same.
        let _ = std::io::stdin().lock().read_to_end(&mut Vec::new());
        std::process::exit(0);
    });
    let server = match (&flags.upstream, &flags.root, &flags.bucket) {
        (Some(url), ..) => Server::upstream(url)?,
        (None, Some(root), Some(bucket)) => Server::files(root, bucket)?,
        (None, ..) => bail!("say --root and --bucket, or --upstream"),
    };
    let state = Arc::new(State::new(flags.seed));
    let layer = Layer::new(server, state.clone());

    let listener = TcpListener::bind(flags.listen).await?;
    let control = TcpListener::bind(flags.control).await?;
    println!("s3={} control={}", listener.local_addr()?, control.local_addr()?);
    tokio::spawn(control::serve(control, state));
    loop {
        let (stream, _) = listener.accept().await?;
        let layer = layer.clone();
        tokio::spawn(async move {
            // A connection that breaks is its client's to notice.
            let _ = Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(stream), layer).await;
        });
    }
}
