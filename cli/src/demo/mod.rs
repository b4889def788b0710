//! `clew demo`: agent, collector and a small instrumented shop, in one process.
//!
//! [`shop`] makes the traces, [`shoppers`] keep it busy, [`tips`] say what to look at, [`status`] shows how it goes.

use std::{
    io::Write,
    path::{Path, PathBuf},
    process::ExitCode,
    sync::Arc,
    time::Duration,
};

use clew_common::{
    shutdown::{self, Drain},
    telemetry,
    world::World,
};
use tokio::sync::mpsc;

use crate::{
    collector::Collector,
    output,
    up::{Flags, Options, Pair},
};

mod shop;
mod shoppers;
mod status;
mod tips;

use shop::{Destination, Sent, Shop};
use shoppers::{Counts, Shoppers};
use status::Status;

/// How long, how fast, where.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  clew demo                                a shop with five requests a second, until Ctrl-C
  clew demo --rate 50 --seconds 60
  clew up --data clew-data/demo            look at its traces again, later

Ctrl-C stops in order: shoppers go, services send their last spans, the agent sends what it has. A second one hurries.")]
pub(crate) struct Args {
    /// Folder of the data; it gets a folder `agent` and a folder `collector`
    #[arg(long, value_name = "DIR", env = "CLEW_DEMO_DATA", default_value = "clew-data/demo")]
    data: PathBuf,
    /// Requests to the shop in a second
    #[arg(long, value_name = "NUMBER", default_value = "5", value_parser = rate)]
    rate: f64,
    /// Stop by itself after so many seconds
    #[arg(long, value_name = "NUMBER")]
    seconds: Option<u64>,
    #[command(flatten)]
    flags: Flags,
}

fn rate(text: &str) -> Result<f64, String> {
    let sound = |rate: &f64| (0.1..=100.0).contains(rate);
    text.parse().ok().filter(sound).ok_or_else(|| {
        "not a rate: write a number from 0.1 to 100 (to put an endpoint under load there is `clew load`)".to_owned()
    })
}

impl Args {
    /// Runs the demo until a signal or its time is over.
    pub(crate) fn run(self) -> anyhow::Result<ExitCode> {
        let options = self.flags.options(&self.data, "warn")?;
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .max_blocking_threads(clew_collector::WORKERS)
            .enable_all()
            .build()?;
        runtime.block_on(Box::pin(self.demo(options)))?;
        Ok(ExitCode::SUCCESS)
    }

    async fn demo(self, options: Options) -> anyhow::Result<()> {
        let _telemetry = telemetry::start("clew", &options.telemetry)?;
        let (stopper, drain) = shutdown::channel();
        tokio::spawn(stopper.on_signals(options.drain_timeout));
        let mut pair = Pair::start(&options, &World::real(), &drain).await?;
        let shopped = Box::pin(self.shop(&options, &mut pair, &drain)).await;
        pair.stop(&drain).await?;
        let status = shopped?;
        let mut out = output::stdout();
        writeln!(out, "Stopped after {}.", status.line())?;
        writeln!(out, "The traces lie in {0}; to ask for them again: clew up --data {0}", self.data.display())?;
        Ok(out.flush()?)
    }

    /// Keeps the shop open until it is time to stop.
    async fn shop(&self, options: &Options, pair: &mut Pair, drain: &Drain) -> anyhow::Result<Status> {
        let sent = Arc::new(Sent::default());
        let shop = Shop::open(&Destination { endpoint: options.otlp_url(), sent: sent.clone() }).await?;
        let counts = Arc::new(Counts::default());
        let (sightings, seen) = mpsc::channel(16);
        let shoppers = Shoppers::new(shop.frontend, counts.clone(), sightings)?;
        let status = Status::new(counts, sent);
        let greeted = greet(options, &self.data, &shop, self.rate);

        let (shoppers_stopper, shoppers_drain) = shutdown::channel();
        let shopping = tokio::spawn(shoppers.run(self.rate, shoppers_drain));
        let tips = tokio::spawn(tell(options.clone(), seen, status.clone()));
        // A demo that nobody reads is over.
        if greeted.is_ok() {
            tokio::select! {
                biased;
                () = drain.begun() => {}
                () = pair.ended() => {}
                () = over(self.seconds) => {}
                () = status.run() => {}
            }
        }
        status.finish();
        shoppers_stopper.drain();
        unless_hurried(drain, shopping).await;
        shop.close(drain).await;
        unless_hurried(drain, tips).await;
        greeted?;
        Ok(status)
    }
}

async fn over(seconds: Option<u64>) {
    match seconds {
        Some(seconds) => tokio::time::sleep(Duration::from_secs(seconds)).await,
        None => std::future::pending().await,
    }
}

async fn unless_hurried(drain: &Drain, mut task: tokio::task::JoinHandle<()>) {
    tokio::select! {
        biased;
        _ = &mut task => {}
        () = drain.hurried() => task.abort(),
    }
}

/// Says what to try next, as soon as there is something.
async fn tell(options: Options, seen: mpsc::Receiver<shoppers::Sighting>, status: Status) {
    let url = match options.collector_url().parse() {
        Ok(url) => url,
        Err(error) => return tracing::warn!(%error, "no tips"),
    };
    let tips = tips::gather(seen, Collector::new(url, None, Duration::from_secs(5))).await;
    let command = |name: &str, what: &str| options.command(name, what);
    let shown = status.above(|| tips::show(&tips, command, &options.tempo_url()));
    if let Err(error) = shown {
        tracing::debug!(%error, "nobody reads the tips");
    }
}

fn greet(options: &Options, data: &Path, shop: &Shop, rate: f64) -> std::io::Result<()> {
    let Options { agent, collector, .. } = options;
    let services: Vec<&str> = shop.services().collect();
    let mut out = output::stdout();
    writeln!(
        out,
        "Clew's demo: a shop, an agent and a collector in one process, with the data in {}.",
        data.display()
    )?;
    writeln!(out, "  shop       http://{}, about {rate} requests a second by simulated shoppers", shop.frontend)?;
    writeln!(out, "             services: {}", services.join(", "))?;
    writeln!(out, "  agent      takes OTLP on {} (gRPC) and {} (HTTP)", agent.grpc, agent.http)?;
    writeln!(out, "  collector  answers on {} (gRPC) and {} (Tempo's API)", collector.grpc, options.tempo_url())?;
    writeln!(out, "  stop       Ctrl-C")?;
    out.flush()
}
