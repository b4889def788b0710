//! clew-agent: parses, builds, runs.

use std::{io::Write, path::PathBuf, process::ExitCode, time::Duration};

use clap::{CommandFactory, Parser};
use clew_agent::{
    Agent, connect_over_tcp,
    options::{self, Flags, Options},
};
use clew_common::{config, errors, shutdown, telemetry, world::World};

/// Takes the spans of this node's services, makes them durable and sends them to a collector.
///
/// Nothing must be configured: it takes OTLP on 127.0.0.1:4317 (gRPC) and :4318 (HTTP), keeps its queue in
/// clew-data/agent and sends to the collector on 127.0.0.1:4327. Each setting can be given in a TOML file, in the
/// environment or as a flag; the later one of these wins.
#[derive(Parser)]
#[command(name = "clew-agent", version, after_help = EXAMPLES)]
struct Cli {
    /// A TOML file with settings; `--print-config` shows them all
    #[arg(long, value_name = "FILE", env = "CLEW_AGENT_CONFIG")]
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
  clew-agent --collector http://collector-1:4327 --collector http://collector-2:4327
  clew-agent --config agent.toml --check
  curl http://127.0.0.1:4319/metrics

SIGTERM drains: no new requests, what is queued is sent, then it exits. A second one hurries.";

fn main() -> ExitCode {
    let cli = Cli::parse();
    match run(cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Where errors should go may be what failed: a full disk, a closed pipe.
            let _ = writeln!(std::io::stderr(), "clew-agent: {}", errors::in_one_line(error.as_ref()));
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
            writeln!(std::io::stderr(), "clew-agent: the environment variable {name} is no setting: see --help")?;
        }
        writeln!(std::io::stdout(), "the configuration is good")?;
        return Ok(());
    }
    // Two workers carry a node's spans; more would only hold more memory.
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).max_blocking_threads(4).enable_all().build()?;
    runtime.block_on(async {
        let _telemetry = telemetry::start("clew-agent", &options.telemetry)?;
        unknown.iter().for_each(|name| tracing::warn!(name, "this environment variable is no setting: see --help"));
        let (stopper, drain) = shutdown::channel();
        tokio::spawn(stopper.on_signals(Duration::from_secs(options.drain_timeout_s)));
        let (grpc, http, admin) = (options.grpc, options.http, options.admin);
        let agent = Agent::open(options, World::real(), connect_over_tcp())?;
        agent.run(drain, || tracing::info!(%grpc, %http, %admin, "taking spans")).await?;
        tracing::info!("stopped");
        Ok(())
    })
}
