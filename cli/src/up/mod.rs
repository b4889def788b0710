//! `clew up`: an agent and a collector for one machine, in one process.
//!
//! [`flags`] says what to run, [`ports`] makes sure that it can listen, [`pair`] runs it and stops it in order.

use std::{
    io::Write,
    path::{Path, PathBuf},
    process::ExitCode,
};

use clew_common::{shutdown, telemetry, world::World};

use crate::output;

mod flags;
mod pair;
mod ports;

pub(crate) use flags::{Flags, Options};
pub(crate) use pair::Pair;

/// Where and how.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  clew up                                  agent and collector, with their data in ./clew-data
  clew up --data /var/lib/clew
  clew up --agent-grpc 0.0.0.0:4317        take spans of other machines too
  OTEL_EXPORTER_OTLP_ENDPOINT=http://127.0.0.1:4317 your-program

SIGTERM or Ctrl-C drains: the agent sends what it has, then the collector ends. A second one hurries.")]
pub(crate) struct Args {
    /// Folder of the data; it gets a folder `agent` and a folder `collector`
    #[arg(long, value_name = "DIR", env = "CLEW_DATA", default_value = "clew-data")]
    data: PathBuf,
    #[command(flatten)]
    flags: Flags,
}

impl Args {
    /// Runs both until a signal.
    pub(crate) fn run(self) -> anyhow::Result<ExitCode> {
        let options = self.flags.options(&self.data, "info")?;
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .max_blocking_threads(clew_collector::WORKERS)
            .enable_all()
            .build()?;
        runtime.block_on(Box::pin(serve(options, &self.data)))?;
        Ok(ExitCode::SUCCESS)
    }
}

async fn serve(options: Options, data: &Path) -> anyhow::Result<()> {
    let _telemetry = telemetry::start("clew", &options.telemetry)?;
    let (stopper, drain) = shutdown::channel();
    tokio::spawn(stopper.on_signals(options.drain_timeout));
    let mut pair = Pair::start(&options, &World::real(), &drain).await?;
    if let Err(error) = greet(&options, data) {
        // It serves all the same.
        tracing::debug!(%error, "nobody reads the greeting");
    }
    tokio::select! {
        biased;
        () = drain.begun() => {}
        () = pair.ended() => {}
    }
    pair.stop(&drain).await?;
    writeln!(output::stdout(), "Stopped. The data lies in {}.", data.display())?;
    Ok(())
}

fn greet(options: &Options, data: &Path) -> std::io::Result<()> {
    let Options { agent, collector, .. } = options;
    let mut out = output::stdout();
    writeln!(out, "Clew is up: an agent and a collector, with their data in {}.", data.display())?;
    writeln!(out, "  send spans   OTEL_EXPORTER_OTLP_ENDPOINT=http://{} (gRPC)", agent.grpc)?;
    writeln!(out, "               OTEL_EXPORTER_OTLP_ENDPOINT=http://{} (HTTP)", agent.http)?;
    writeln!(out, "  see a trace  {}", options.command("trace", "TRACE-ID"))?;
    writeln!(
        out,
        "               curl http://{}/api/v2/traces/TRACE-ID (Tempo's API, for Grafana too)",
        collector.tempo
    )?;
    writeln!(out, "  watch        http://{}/metrics and http://{}/metrics", agent.admin, collector.admin)?;
    writeln!(out, "  stop         Ctrl-C")?;
    out.flush()
}
