//! `clew sql`: asks in SQL, once or at a prompt.
//!
//! `client` speaks Arrow Flight SQL to a collector, `show` writes what comes, `prompt` reads queries with history and completion.

mod client;
mod prompt;
mod show;

use std::{
    io::{self, IsTerminal, Read, Write},
    path::PathBuf,
    process::ExitCode,
    time::Duration,
};

use anyhow::Context;
use clap::ValueEnum;

use self::client::Client;
use crate::{args, collector::Where, output};

/// What to ask, and where.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  clew sql                                                a prompt, with history and completion
  clew sql 'SELECT service_name, count(*) FROM spans GROUP BY 1 ORDER BY 2 DESC'
  clew sql 'SELECT \"span.http.route\", approx_percentile_cont(duration, 0.99) / 1e6 AS p99_ms
            FROM spans WHERE kind = '\\''server'\\'' GROUP BY 1 ORDER BY 2 DESC LIMIT 10'
  clew sql 'SELECT * FROM spans LIMIT 1000' --format arrow > spans.arrow
  clew sql - < query.sql

Tables: spans, events, links, resources; `clew sql 'DESCRIBE spans'` lists columns. Attributes are columns such as
\"span.http.route\" and \"resource.host.name\", in double quotes. Durations are in nanoseconds. docs/sql.md has more.")]
pub(crate) struct Args {
    /// The query; - reads it from standard input [default: a prompt]
    #[arg(value_name = "QUERY")]
    query: Option<String>,
    /// How rows are written
    #[arg(long, value_enum, default_value_t = Format::Table)]
    format: Format,
    /// Rows of a table or list at most; other formats have all
    #[arg(long, value_name = "N", default_value_t = 1000)]
    rows: usize,
    #[command(flatten)]
    place: Where,
    /// Longest wait for the answer
    #[arg(long, value_name = "TIME", default_value = "60s", value_parser = args::duration)]
    timeout: Duration,
    /// Where the prompt keeps what was asked [default: clew/sql_history in the user's state folder]
    #[arg(long, value_name = "FILE", env = "CLEW_SQL_HISTORY")]
    history: Option<PathBuf>,
}

/// How rows are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// For people; a list where it is too wide for the terminal
    Table,
    /// A line for each value that is not null
    List,
    /// An array of objects
    Json,
    /// An object a line
    Ndjson,
    /// With names of columns in the first line
    Csv,
    /// Arrow's IPC stream
    Arrow,
}

impl Args {
    /// Asks, and writes what comes.
    pub(crate) fn run(self) -> anyhow::Result<ExitCode> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let mut client = runtime.block_on(async { Client::new(&self.place, self.timeout) });
        let query = match self.query.as_deref() {
            None if io::stdin().is_terminal() && io::stdout().is_terminal() => {
                return prompt::run(&runtime, &mut client, self.format, self.rows, self.history);
            }
            None | Some("-") => {
                let mut text = String::new();
                io::stdin().read_to_string(&mut text).context("cannot read the query from standard input")?;
                text
            }
            Some(query) => query.to_owned(),
        };
        if self.format == Format::Arrow && io::stdout().is_terminal() {
            anyhow::bail!(
                "Arrow's format is not for a terminal: write it to a file, as in clew sql ... --format arrow > rows.arrow"
            );
        }
        let mut out = output::stdout();
        runtime.block_on(show::answer(&mut client, &query, self.format, self.rows, &mut out))?;
        out.flush()?;
        Ok(ExitCode::SUCCESS)
    }
}
