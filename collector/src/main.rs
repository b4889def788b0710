//! clew-collector: parses, builds, runs.

use std::{io::Write, path::PathBuf, process::ExitCode, time::Duration};

use clap::{CommandFactory, Parser};
use clew_collector::{
    Collector, WORKERS,
    options::{self, Flags, Options},
};
use clew_common::{config, errors, shutdown, telemetry, world::World};

/// Persists the spans of agents and answers every question about traces.
///
/// Nothing must be configured: it takes agents, OTLP and queries on 127.0.0.1:4327 (gRPC), OTLP on :4328 (HTTP), serves
/// Tempo's API on :3200 and under /tempo on :16686, Jaeger's on :16686 (HTTP) and :16685 (gRPC), and keeps its data in
/// clew-data/collector. Each setting can be given in a TOML file, in the environment or as a flag; the later one of these wins.
#[derive(Parser)]
#[command(name = "clew-collector", version, after_help = EXAMPLES)]
struct Cli {
    /// A TOML file with settings; `--print-config` shows them all
    #[arg(long, value_name = "FILE", env = "CLEW_COLLECTOR_CONFIG")]
    config: Option<PathBuf>,
    /// Check the configuration and exit
    #[arg(long)]
    check: bool,
    /// Print the configuration in force as TOML, with what each setting means, and exit
    #[arg(long)]
    print_config: bool,
    #[command(flatten)]
    flags: Flags,
}

const EXAMPLES: &str = "Examples:
  clew-collector --data /var/lib/clew
  clew-collector --config collector.toml --check
  curl http://127.0.0.1:3200/api/traces/4bf92f3577b34da6a3ce929d0e0e4736

SIGTERM drains: what was begun is finished, then it exits. A second one hurries.";

fn main() -> ExitCode {
    clew_storage::allocator::give_back_soon();
    let cli = Cli::parse();
    match run(cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Where errors should go may be what failed: a full disk, a closed pipe.
            let _ = writeln!(std::io::stderr(), "clew-collector: {}", errors::in_one_line(error.as_ref()));
            ExitCode::FAILURE
        }
    }
}

fn run(cli: Cli) -> anyhow::Result<()> {
    let options: Options = config::load(cli.config.as_deref(), &cli.flags)?;
    options.check()?;
    if cli.print_config {
        let sources = [("", options::SOURCE), ("telemetry", telemetry::SOURCE)];
        std::io::stdout().write_all(config::commented(&options, &sources)?.as_bytes())?;
        return Ok(());
    }
    let unknown = config::unknown_variables(&Cli::command());
    if cli.check {
        for name in &unknown {
            writeln!(std::io::stderr(), "clew-collector: the environment variable {name} is no setting: see --help")?;
        }
        writeln!(std::io::stdout(), "the configuration is good")?;
        return Ok(());
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().max_blocking_threads(WORKERS).enable_all().build()?;
    let opened = runtime.block_on(async {
        let _telemetry = telemetry::start("clew-collector", &options.telemetry)?;
        unknown.iter().for_each(|name| tracing::warn!(name, "this environment variable is no setting: see --help"));
        let (stopper, drain) = shutdown::channel();
        tokio::spawn(stopper.on_signals(Duration::from_secs(options.drain_timeout_s)));
        let (grpc, http, web) = (options.grpc, options.http, options.web);
        let (tempo, jaeger) = (options.tempo, options.jaeger);
        let for_streams = drain.clone();
        let collector = tokio::select! {
            opened = tokio::task::spawn_blocking(move || Collector::open(options, World::real(), for_streams)) => opened??,
            () = drain.begun() => {
                tracing::info!("stopped before the store was open");
                return Ok(false);
            }
        };
        collector.run(drain, || tracing::info!(%grpc, %http, %web, %tempo, %jaeger, "serving")).await?;
        tracing::info!("stopped");
        anyhow::Ok(true)
    })?;
    if !opened {
        // What opens the store cannot be stopped, and may be: nothing was promised yet.
        runtime.shutdown_background();
    }
    Ok(())
}
