//! Writes answers.

use std::io::{self, IsTerminal, Write};

use arrow_array::RecordBatch;
use arrow_cast::{
    display::{ArrayFormatter, FormatOptions},
    pretty::pretty_format_batches,
};
use arrow_flight::decode::FlightRecordBatchStream;
use clew_sql::format::{self, Writer};
use futures_util::TryStreamExt;

use super::{Format, client::Client};
use crate::{output, text::harmless_lines};

/// Asks, and writes all rows; of a table or a list so many at most.
pub(super) async fn answer(
    client: &mut Client,
    query: &str,
    format: Format,
    most: usize,
    out: &mut impl Write,
) -> anyhow::Result<()> {
    let mut rows = client.query(query).await?;
    let format = match format {
        Format::Table | Format::List => return drawn(client, rows, format, most, out).await,
        Format::Json => format::Format::Json,
        Format::Ndjson => format::Format::Ndjson,
        Format::Csv => format::Format::Csv,
        Format::Arrow => format::Format::Arrow,
    };
    let mut writer = None;
    while let Some(batch) = rows.try_next().await.map_err(|error| client.told(error))? {
        let writer = writer.get_or_insert_with(|| Writer::new(format, batch.schema()));
        out.write_all(&writer.write(&batch)?)?;
    }
    let mut writer = match (writer, rows.schema()) {
        (Some(writer), _) => writer,
        (None, Some(schema)) => Writer::new(format, schema.clone()),
        (None, None) => anyhow::bail!("the collector said nothing of the columns"),
    };
    out.write_all(&writer.finish()?)?;
    Ok(())
}

async fn drawn(
    client: &Client,
    mut rows: FlightRecordBatchStream,
    format: Format,
    most: usize,
    out: &mut impl Write,
) -> anyhow::Result<()> {
    let mut batches: Vec<RecordBatch> = Vec::new();
    let mut count = 0;
    let mut more = false;
    while let Some(batch) = rows.try_next().await.map_err(|error| client.told(error))? {
        let kept = batch.num_rows().min(most - count);
        more = kept < batch.num_rows();
        count += kept;
        batches.push(batch.slice(0, kept));
        if more {
            break;
        }
    }
    if batches.is_empty()
        && let Some(schema) = rows.schema()
    {
        batches.push(RecordBatch::new_empty(schema.clone()));
    }
    let table = || pretty_format_batches(&batches).map(|table| harmless_lines(&table.to_string()));
    let fits = |table: &String| {
        let width = table.lines().next().unwrap_or_default().len();
        !io::stdout().is_terminal() || width <= output::width(None)
    };
    match format {
        Format::Table => match table()? {
            table if fits(&table) || count == 0 => writeln!(out, "{table}")?,
            _ => list(&batches, out)?,
        },
        _ => list(&batches, out)?,
    }
    let rows = if count == 1 { "row" } else { "rows" };
    let count = output::thousands(count as u64);
    if more {
        writeln!(out, "the first {count} {rows}; --rows N shows more, --format csv all")?;
    } else {
        writeln!(out, "{count} {rows}")?;
    }
    Ok(())
}

/// Row by row, a line for each value.
fn list(batches: &[RecordBatch], out: &mut impl Write) -> anyhow::Result<()> {
    let options = FormatOptions::default();
    let mut number = 0;
    for batch in batches {
        let schema = batch.schema();
        let names: Vec<String> = schema.fields().iter().map(|field| harmless_lines(field.name())).collect();
        let values = batch.columns().iter().map(|column| ArrayFormatter::try_new(column, &options));
        let values = values.collect::<Result<Vec<_>, _>>()?;
        for row in 0..batch.num_rows() {
            number += 1;
            writeln!(out, "row {number}")?;
            let shown = || (0..names.len()).filter(|column| batch.column(*column).is_valid(row));
            let width = shown().map(|column| names[column].chars().count()).max().unwrap_or(0);
            for column in shown() {
                let value = harmless_lines(&values[column].value(row).try_to_string()?);
                writeln!(out, "  {:width$}  {}", names[column], value.replace('\n', &format!("\n{:width$}    ", "")))?;
            }
        }
    }
    Ok(())
}
