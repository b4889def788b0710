//! An S3 server for tests, over a folder, that fails when it is told to. It ends with whoever holds its standard input.
//!
//! The control port: `POST /faults` with [`Faults`] as JSON, `GET /counts` for how many there were, `GET /ready`.

// Where it listens is a program's output.
#![allow(clippy::print_stdout)]

mod control;
mod faults;
mod layer;

use std::{io::Read, net::SocketAddr, path::PathBuf, sync::Arc};

use anyhow::{Context, Result};
use clap::Parser;
use clew_integration_tests::s3::{ACCESS_KEY, SECRET_KEY};
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto::Builder,
};
use s3s::{auth::SimpleAuth, service::S3ServiceBuilder};
use s3s_fs::FileSystem;
use tokio::net::TcpListener;

use crate::{faults::State, layer::Layer};

#[derive(Debug, Parser)]
struct Flags {
    /// Where buckets are folders
    #[arg(long)]
    root: PathBuf,
    /// A bucket to make
    #[arg(long)]
    bucket: String,
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
    std::fs::create_dir_all(flags.root.join(&flags.bucket)).context("cannot make the bucket")?;
    let files = FileSystem::new(&flags.root).map_err(|error| anyhow::anyhow!("cannot open the folder: {error:?}"))?;
    let mut s3 = S3ServiceBuilder::new(files);
    s3.set_auth(SimpleAuth::from_single(ACCESS_KEY, SECRET_KEY));
    let state = Arc::new(State::new(flags.seed));
    let layer = Layer::new(s3.build(), state.clone());

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
