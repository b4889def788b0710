//! `clew export`: writes a tenant's spans to a file, a pipe or a folder, from where `clew import` and others take them.
//!
//! [`select`] says which spans. [`unflushed`] reads those that are only in the write-ahead log, [`blocks`] the others.
//! [`lines`] writes OTLP messages, [`folder`] Parquet.

mod blocks;
mod folder;
mod lines;
mod select;
#[cfg(test)]
mod tests;
mod unflushed;

use std::{
    collections::BTreeSet,
    fmt,
    io::{self, IsTerminal},
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::{Context, bail};
use clew_common::{ids::Tenant, world::World};
use clew_storage::verify::{self, Covered, Found, Part};
use indicatif::{ProgressBar, ProgressStyle};

use self::{
    blocks::Blocks,
    folder::Folder,
    lines::{Compression, Encoding, Lines, Target},
    select::{Selection, Share},
    unflushed::Unflushed,
};
use crate::{args, clock, output, place::Place, trace::TraceId};

/// What to export, and where to.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  clew export -o spans.jsonl                        all spans of the default tenant, as OTLP JSON
  clew export -o spans.pb.zst --data /var/lib/clew  as protobuf, compressed
  clew export -o spans --format parquet             a folder for DuckDB, pandas or Spark
  clew export --trace 4bf92f3577b34da6a3ce929d0e0e4736 | jq .
  clew export --from 2026-11-23T09:00 --to 2026-11-23T10:00 --tenant shop -o hour.jsonl.gz
  clew export --store s3://bucket/prefix | ssh there clew import -

json:      a line is one OTLP TracesData (the same as an ExportTraceServiceRequest) in OTLP's JSON,
           as the OpenTelemetry Collector's file exporter and its otlpjsonfile receiver have it.
protobuf:  before each TracesData its length as a varint, as protobuf's writeDelimitedTo has it.
parquet:   a folder DIR/TENANT/blocks/DAY/ID/ of spans.parquet and resources.parquet each, as a
           collector keeps them: docs/schema.md has the columns. `clew blocks --store DIR` and
           `clew verify --store DIR` read it too.
With -o, the name's end tells the format and compression: .jsonl .json .pb .gz .zst

Files are read, nothing is changed, and a collector may run beside this: what was acked before
the start is exported, from the write-ahead log too. Spans come in no order, in messages of up
to 1 MiB, each as often as it is stored. Exit code 1 tells that something is damaged, and not
all was exported.")]
pub(crate) struct Args {
    #[command(flatten)]
    place: Place,
    /// Whose spans
    #[arg(long, default_value = "default", value_parser = args::tenant)]
    tenant: Tenant,
    /// Only spans that start then or later (2026-11-23T05:41:00Z, always UTC, or seconds since 1970)
    #[arg(long, value_name = "TIME", value_parser = clock::parse)]
    from: Option<u64>,
    /// Only spans that start before then
    #[arg(long, value_name = "TIME", value_parser = clock::parse)]
    to: Option<u64>,
    /// Only spans of this trace; may be given several times
    #[arg(long = "trace", value_name = "ID")]
    traces: Vec<TraceId>,
    /// How to write them [default: by the name of the output, else json]
    #[arg(long, value_enum)]
    format: Option<Format>,
    /// How to compress json or protobuf [default: by the name of the output, else none]
    #[arg(long, value_enum)]
    compression: Option<Compression>,
    /// New file to write, or new or empty folder for parquet; - is standard output
    #[arg(short, long, value_name = "PATH", default_value = "-")]
    output: PathBuf,
}

/// What spans are written as.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Format {
    Json,
    Protobuf,
    Parquet,
}

/// Where spans go.
pub(crate) enum Output {
    Lines(Lines),
    Folder(Folder),
}

impl Output {
    fn write(&mut self, part: Part) -> anyhow::Result<()> {
        match self {
            Self::Lines(lines) => lines.write(&part),
            Self::Folder(folder) => folder.write(part),
        }
    }

    fn finish(self) -> anyhow::Result<()> {
        match self {
            Self::Lines(lines) => Ok(lines.finish()?),
            Self::Folder(folder) => folder.finish(),
        }
    }
}

/// What was done.
#[derive(Debug, Default)]
pub(crate) struct Report {
    /// Exported.
    spans: u64,
    /// Of these, from the WAL.
    wal_spans: u64,
    blocks: usize,
    damaged: usize,
    /// So many of them at most were exported twice, because blocks were merged meanwhile.
    may_repeat: u64,
}

impl Report {
    /// Says what is damaged.
    fn damage(&mut self, place: &str, what: &str) {
        self.damaged += 1;
        eprintln!("clew: damaged: {place}: {what}");
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { spans, wal_spans, blocks, damaged, may_repeat } = self;
        let blocks = match blocks {
            1 => "1 block".to_owned(),
            blocks => format!("{blocks} blocks"),
        };
        write!(f, "exported {} spans of {blocks}", output::thousands(*spans))?;
        if *wal_spans > 0 {
            write!(f, " and the WAL, which alone had {}", output::thousands(*wal_spans))?;
        }
        if *may_repeat > 0 {
            let repeated = output::thousands(*may_repeat);
            write!(f, "; up to {repeated} of them twice, because blocks were merged meanwhile")?;
        }
        if *damaged > 0 {
            write!(f, "; {damaged} damaged places, so not all: `clew verify` says more")?;
        }
        Ok(())
    }
}

impl Args {
    /// Exports.
    pub(crate) fn run(self) -> anyhow::Result<ExitCode> {
        let world = World::real();
        let store = self.place.open(&world)?;
        let selection = Selection {
            tenant: self.tenant.clone(),
            from: self.from,
            to: self.to,
            traces: self.traces.iter().map(|trace| trace.0).collect(),
        };
        let mut report = Report::default();
        let mut unflushed = Unflushed::read(&self.place, &store, &world, &selection)?;
        let found = verify::folders(&store).context("cannot list the blocks")?;
        unflushed.forget(&Covered::by(&found), &selection);
        if let Some(others) = others(&found, &unflushed, &selection) {
            eprintln!("clew: tenant {} has no spans here{others}", selection.tenant);
        }
        // Not before all that may be wrong with the store was: a file that was begun is in the way of the next try.
        let mut output = self.create(&world)?;
        let bar = progress(&found, &unflushed, &selection);
        for damage in &unflushed.damage {
            report.damage(&damage.place, &damage.what);
        }
        let progress = |spans| bar.inc(spans);
        let blocks = Blocks {
            store: &store,
            selection: &selection,
            output: &mut output,
            report: &mut report,
            progress: &progress,
        };
        blocks.export(found)?;
        for part in unflushed.parts() {
            let part = part?;
            report.wal_spans += part.spans() as u64;
            bar.inc(part.spans() as u64);
            output.write(part)?;
        }
        report.spans += report.wal_spans;
        output.finish().context("cannot write the last spans")?;
        bar.finish_and_clear();
        eprintln!("{report}");
        Ok(if report.damaged == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }

    fn create(&self, world: &World) -> anyhow::Result<Output> {
        let (by_name, compressed) = by_name(&self.output);
        let format = self.format.or(by_name).unwrap_or(Format::Json);
        let compression = self.compression.unwrap_or(compressed);
        let encoding = match format {
            Format::Json => Encoding::Json,
            Format::Protobuf => Encoding::Protobuf,
            Format::Parquet => {
                if self.output == Path::new("-") {
                    bail!("parquet is a folder: say where with --output DIR");
                }
                if self.compression.is_some_and(|compression| compression != Compression::None) {
                    bail!("parquet is compressed within: leave --compression away");
                }
                return Ok(Output::Folder(Folder::create(&self.output, world, self.tenant.clone())?));
            }
        };
        let text = encoding == Encoding::Json && compression == Compression::None;
        if self.output == Path::new("-") && !text && io::stdout().is_terminal() {
            bail!("that is not for a terminal: say where to write with --output FILE, or pipe it");
        }
        let target = Target::create(&self.output)?;
        Ok(Output::Lines(Lines::new(encoding, compression, target)?))
    }
}

/// The format and compression that a name tells.
pub(crate) fn by_name(path: &Path) -> (Option<Format>, Compression) {
    let name = path.file_name().unwrap_or_default().to_string_lossy().to_ascii_lowercase();
    let (name, compression) = match name.rsplit_once('.') {
        Some((name, "gz")) => (name, Compression::Gzip),
        Some((name, "zst" | "zstd")) => (name, Compression::Zstd),
        _ => (&*name, Compression::None),
    };
    let format = match name.rsplit_once('.').map(|(_, end)| end) {
        Some("json" | "jsonl" | "ndjson") => Some(Format::Json),
        Some("pb" | "binpb" | "protobuf") => Some(Format::Protobuf),
        Some("parquet") => Some(Format::Parquet),
        _ => None,
    };
    (format, compression)
}

/// When there is nothing of the tenant: which tenants there are something of.
fn others(found: &[Found], unflushed: &Unflushed, selection: &Selection) -> Option<String> {
    let tenants: BTreeSet<String> = found.iter().map(|found| found.tenant.to_string()).collect();
    if unflushed.spans() > 0 || tenants.contains(&selection.tenant.to_string()) {
        return None;
    }
    let tenants: Vec<String> = tenants.into_iter().collect();
    Some(if tenants.is_empty() { String::new() } else { format!("; there are blocks of {}", tenants.join(", ")) })
}

/// A bar on standard error, where that is a terminal.
fn progress(found: &[Found], unflushed: &Unflushed, selection: &Selection) -> ProgressBar {
    if !io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let replaced = verify::replaced(found);
    let blocks = found.iter().filter(|found| found.tenant == selection.tenant && !replaced.contains(&found.id));
    let metas = blocks.filter_map(|found| Some(found.block.as_ref()?.as_ref().ok()?.meta()));
    let spans = metas.filter(|meta| selection.share(meta) != Share::Nothing).map(|meta| meta.spans).sum::<u64>();
    let style = ProgressStyle::with_template("{bar:32} {human_pos} of {human_len} spans, {eta} left");
    ProgressBar::new(spans + unflushed.spans()).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
}
