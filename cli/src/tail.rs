//! `clew tail`: shows spans as they come.

use std::{
    fs,
    io::{self, Write},
    ops::ControlFlow,
    path::{Path, PathBuf},
    process::ExitCode,
    time::Duration,
};

use anyhow::Context;
use bytes::Bytes;
use clew_common::otlp::json::{self, Ids};
use clew_proto::v1::{TailRequest, TailResponse};
use clew_query::tree::{Node, Tree};

use crate::{clock, collector::Where, output, text::harmless};

/// How long to wait before a collector that went away is asked again.
const PAUSE: Duration = Duration::from_secs(1);
/// Longest wait for a connection.
const CONNECT: Duration = Duration::from_secs(10);

/// Which spans, and how to show them.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  clew tail                                          every span
  clew tail '{ status = error }'                     what fails, milliseconds after it is sent
  clew tail '{ span.order.state = \"undone\" }' --json --cursor-file tail.pos | ./roll-back

The language is TraceQL: one filter in braces, of what a span knows by itself. --json prints OTLP JSON, a line for what
came together. With --cursor-file it goes on where it was when it is started again: no span is missed, some may come twice.
When the collector goes away, it is asked again until it is back.")]
pub(crate) struct Args {
    /// Which spans, in TraceQL
    #[arg(value_name = "FILTER", default_value = "{ }")]
    query: String,
    /// Print OTLP JSON
    #[arg(long)]
    json: bool,
    /// End after so many spans [default: never]
    #[arg(long, value_name = "N")]
    limit: Option<u64>,
    /// Keep in this file how far it is, and go on from there
    #[arg(long, value_name = "FILE")]
    cursor_file: Option<PathBuf>,
    #[command(flatten)]
    place: Where,
}

impl Args {
    /// Shows spans until it is stopped.
    pub(crate) fn run(self) -> anyhow::Result<ExitCode> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(self.follow())?;
        Ok(ExitCode::SUCCESS)
    }

    async fn follow(&self) -> anyhow::Result<()> {
        let mut cursor = self.cursor_file.as_deref().map_or(Ok(String::new()), read_cursor)?;
        let collector = self.place.within(CONNECT);
        let (mut shown, mut heard) = (0, false);
        loop {
            let request = TailRequest { query: self.query.clone(), cursor: cursor.clone() };
            let failed = match collector.tail(request).await {
                // It was never there, or will never answer.
                Err(error) if !heard || !error.is_passing() => return Err(error.into()),
                Err(error) => error.to_string(),
                Ok(mut messages) => loop {
                    match messages.message().await {
                        Ok(Some(message)) => {
                            heard = true;
                            if self.take(message, &mut cursor, &mut shown)?.is_break() {
                                return Ok(());
                            }
                        }
                        Ok(None) => break "the collector ended the stream".to_owned(),
                        Err(status) => break format!("the connection to the collector broke: {}", status.message()),
                    }
                },
            };
            eprintln!("clew: {}; asking again", harmless(&failed));
            tokio::time::sleep(PAUSE).await;
        }
    }

    fn take(&self, message: TailResponse, cursor: &mut String, shown: &mut u64) -> anyhow::Result<ControlFlow<()>> {
        for why in &message.partial_reasons {
            eprintln!("clew: spans may be missing: {}", harmless(why));
        }
        let mut out = output::stdout();
        let tree = Tree::decode(&message.resource_spans).context("what the collector sent cannot be read as spans")?;
        let left = self.limit.map_or(usize::MAX, |limit| usize::try_from(limit - *shown).unwrap_or(usize::MAX));
        if self.json && !tree.nodes.is_empty() {
            writeln!(out, "{}", as_json(&message.resource_spans))?;
        } else {
            let colour = output::colour(&io::stdout());
            tree.nodes.iter().take(left).try_for_each(|node| show(&mut out, &tree, node, colour))?;
        }
        out.flush()?;
        *shown += tree.nodes.len() as u64;
        if !message.cursor.is_empty() {
            *cursor = message.cursor;
            self.cursor_file.as_deref().map_or(Ok(()), |file| write_cursor(file, cursor))?;
        }
        Ok(if tree.nodes.len() >= left { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
    }
}

fn read_cursor(file: &Path) -> anyhow::Result<String> {
    match fs::read_to_string(file) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(String::new()),
        read => Ok(read.with_context(|| format!("cannot read {}", file.display()))?.trim().to_owned()),
    }
}

/// In one step: a file that was cut short would be no cursor.
fn write_cursor(file: &Path, cursor: &str) -> anyhow::Result<()> {
    let new = file.with_extension("new");
    let written = fs::write(&new, format!("{cursor}\n")).and_then(|()| fs::rename(&new, file));
    written.with_context(|| format!("cannot write {}", file.display()))
}

fn show(out: &mut impl Write, tree: &Tree, node: &Node, colour: bool) -> io::Result<()> {
    let (dim, red, plain) = if colour { ("\x1b[2m", "\x1b[31m", "\x1b[0m") } else { ("", "", "") };
    let span = &node.span;
    let took = output::duration_ns(span.end_time_unix_nano.saturating_sub(span.start_time_unix_nano));
    let status = span.status.as_ref().filter(|_| node.is_error());
    write!(
        out,
        "{dim}{}{plain}  {}  {took:>7}  {}  {}",
        clock::rfc3339(span.end_time_unix_nano),
        hex::encode(&span.trace_id),
        harmless(tree.service(node).unwrap_or("-")),
        harmless(&span.name),
    )?;
    if let Some(status) = status {
        write!(out, "  {red}ERROR{plain} {}", harmless(&status.message))?;
    }
    writeln!(out)
}

/// OTLP JSON: the parts of a TracesData message, one behind the other, are one.
fn as_json(resource_spans: &[Bytes]) -> String {
    let mut traces_data = Vec::new();
    for resource_spans in resource_spans {
        prost::encoding::bytes::encode(1, resource_spans, &mut traces_data);
    }
    json::from_protobuf(&traces_data, Ids::Hex)
}
