//! `clew load`: a load generator for any OTLP endpoint.
//!
//! `write` makes up a corpus of requests and the truth about them ([`generate`], [`corpus`], [`truth`]), `send` replays
//! it, `check` looks up what arrived and compares it with the truth by [`digest`]. `fresh` measures when a span can be found.

use std::process::ExitCode;

mod check;
mod corpus;
mod digest;
mod fresh;
mod generate;
pub(crate) mod send;
mod truth;
mod wire;
mod write;

/// What to do.
#[derive(Debug, clap::Args)]
#[command(
    arg_required_else_help = true,
    after_help = "\
Examples:
  clew load write corpus                  make up a million spans of a shop with 40 services
  clew load send corpus                   send them to 127.0.0.1:4317 as fast as they are taken
  clew load send corpus --endpoint http://tempo:4317 --rate 20000 --duration 60s
  clew load check corpus                  look every trace up and compare it bit by bit"
)]
pub(crate) struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, clap::Subcommand)]
enum Verb {
    /// Make up a corpus of requests, and the truth about it
    Write(write::Args),
    /// Send a corpus to an endpoint, and measure
    Send(send::Args),
    /// Look up every trace of a corpus, and compare it with the truth
    Check(check::Args),
    /// Measure how long after its ack a span can be found
    Fresh(fresh::Args),
}

impl Args {
    /// Does it.
    pub(crate) fn run(self) -> anyhow::Result<ExitCode> {
        match self.verb {
            Verb::Write(args) => args.run(),
            Verb::Send(args) => args.run(),
            Verb::Check(args) => args.run(),
            Verb::Fresh(args) => args.run(),
        }
    }
}
