//! `clew blocks`: what is in a store's blocks, and what takes their bytes.

use std::{io::Write, process::ExitCode};

use clew_common::{ids::Tenant, world::World};
use clew_storage::{
    block::Meta,
    verify::{self, Sizes},
};
use serde::Serialize;

use crate::{args, clock, output, place::Place};

/// Which blocks.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  clew blocks                                  of the collector whose data is in clew-data/collector
  clew blocks --data /var/lib/clew --tenant a  of one tenant
  clew blocks --json | jq .total

Bytes are a span: in all, then by what they are for. Only metas, filters and footers are read;
a collector may run beside it. A block is `replaced` when another one has all its spans: its
files are deleted later.")]
pub(crate) struct Args {
    #[command(flatten)]
    place: Place,
    /// Only this tenant's
    #[arg(long, value_parser = args::tenant)]
    tenant: Option<Tenant>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// A block, as it is shown.
#[derive(Serialize)]
struct Row {
    tenant: String,
    id: String,
    path: String,
    state: &'static str,
    /// Why it is damaged.
    #[serde(skip_serializing_if = "Option::is_none")]
    why: Option<String>,
    #[serde(flatten)]
    facts: Option<Facts>,
}

#[derive(Serialize)]
struct Facts {
    /// The collector that may merge and delete it.
    #[serde(skip_serializing_if = "Option::is_none")]
    owner: Option<String>,
    level: u8,
    spans: u64,
    traces: u64,
    /// Nanoseconds since 1970.
    start_min: i64,
    end_max: i64,
    bytes: u64,
    sizes: Sizes,
}

#[derive(Default, Serialize)]
struct Total {
    blocks: usize,
    damaged: usize,
    spans: u64,
    bytes: u64,
    sizes: Sizes,
}

impl Args {
    /// Shows them.
    pub(crate) fn run(self) -> anyhow::Result<ExitCode> {
        let world = World::real();
        let store = self.place.open(&world)?;
        let found = verify::folders(&store)?;
        let replaced = verify::replaced(&found);
        let (mut rows, mut total) = (Vec::new(), Total::default());
        for found in found.iter().filter(|found| self.tenant.as_ref().is_none_or(|tenant| *tenant == found.tenant)) {
            let mut row = Row {
                tenant: found.tenant.to_string(),
                id: found.id.to_string(),
                path: found.path.clone(),
                state: "unfinished",
                why: None,
                facts: None,
            };
            match &found.block {
                None => {}
                Some(Err(error)) => (row.state, row.why) = ("damaged", Some(error.to_string())),
                Some(Ok(block)) => match verify::sizes(&*store, found, block.meta()) {
                    Err(error) => (row.state, row.why) = ("damaged", Some(error.to_string())),
                    Ok(sizes) => {
                        row.state = if replaced.contains(&found.id) { "replaced" } else { "" };
                        row.facts = Some(Facts::of(block.meta(), sizes));
                    }
                },
            }
            total.add(&row);
            rows.push(row);
        }
        let mut out = output::stdout();
        if self.json {
            serde_json::to_writer(&mut out, &serde_json::json!({ "blocks": rows, "total": total }))?;
            writeln!(out)?;
        } else {
            write(&mut out, &rows, &total)?;
        }
        out.flush()?;
        Ok(ExitCode::SUCCESS)
    }
}

impl Facts {
    fn of(meta: &Meta, sizes: Sizes) -> Self {
        Self {
            owner: meta.owner.map(|owner| owner.to_string()),
            level: meta.level,
            spans: meta.spans,
            traces: meta.traces,
            start_min: meta.start_min,
            end_max: meta.end_max,
            bytes: sizes.total(),
            sizes,
        }
    }
}

impl Total {
    /// Replaced blocks do not count: their spans are in others.
    fn add(&mut self, row: &Row) {
        self.damaged += usize::from(row.state == "damaged");
        if let Some(facts) = row.facts.as_ref().filter(|_| row.state.is_empty()) {
            self.blocks += 1;
            self.spans += facts.spans;
            self.bytes += facts.bytes;
            self.sizes.add(&facts.sizes);
        }
    }
}

fn write(out: &mut impl Write, rows: &[Row], total: &Total) -> std::io::Result<()> {
    let tenants = rows.iter().map(|row| row.tenant.len()).max().unwrap_or(0).max("tenant".len());
    write!(out, "{:tenants$} {:36} {:10} {:>2} {:>12} {:>10} ", "tenant", "block", "day", "lv", "spans", "traces")?;
    write!(out, "{:24} {:>8} {:>10} {:>6}", "first start", "length", "size", "B/span")?;
    for (name, _) in Sizes::default().groups() {
        write!(out, " {name:>10}")?;
    }
    writeln!(out)?;
    for row in rows {
        let day = row.path.rsplit('/').nth(1).unwrap_or_default();
        write!(out, "{:tenants$} {:36} {day:10} ", row.tenant, row.id)?;
        match &row.facts {
            Some(facts) => {
                let length = facts.end_max.saturating_sub(facts.start_min).max(0) as u64;
                let start = clock::rfc3339(facts.start_min as u64);
                write!(out, "{:>2} {:>12} {:>10} ", facts.level, output::thousands(facts.spans), facts.traces)?;
                write!(out, "{start:24.24} {:>8} ", output::duration_ns(length))?;
                write_sizes(out, &facts.sizes, facts.spans)?;
                writeln!(out, "{}{}", if row.state.is_empty() { "" } else { "  " }, row.state)?;
            }
            None => writeln!(out, "{}: {}", row.state, row.why.as_deref().unwrap_or("it has no meta (yet)"))?,
        }
    }
    let all = format!("{} blocks", total.blocks);
    let width = tenants + 1 + 36 + 1 + 10 + 1 + 2;
    write!(out, "{all:width$} {:>12} {:10} {:24} {:>8} ", output::thousands(total.spans), "", "", "")?;
    write_sizes(out, &total.sizes, total.spans)?;
    writeln!(out)?;
    if total.damaged > 0 {
        writeln!(out, "{} damaged: `clew verify` says more", total.damaged)?;
    }
    Ok(())
}

fn write_sizes(out: &mut impl Write, sizes: &Sizes, spans: u64) -> std::io::Result<()> {
    let each = |bytes: u64| bytes as f64 / spans.max(1) as f64;
    write!(out, "{:>10} {:>6.1}", output::bytes(sizes.total()), each(sizes.total()))?;
    sizes.groups().iter().try_for_each(|(_, bytes)| write!(out, " {:>10.2}", each(*bytes)))
}
