//! Writes answers.

use std::io::Write;

use arrow_array::RecordBatch;
use arrow_cast::pretty::pretty_format_batches;
use clew_sql::format::{self, Writer};
use futures_util::TryStreamExt;

use super::{Format, client::Client};
use crate::{output, text::harmless_lines};

/// Asks, and writes all rows; of a table so many at most.
pub(super) async fn answer(
    client: &mut Client,
    query: &str,
    format: Format,
    most: usize,
    out: &mut impl Write,
) -> anyhow::Result<()> {
    let mut rows = client.query(query).await?;
    let format = match format {
        Format::Table => return table(client, rows, most, out).await,
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

async fn table(
    client: &Client,
    mut rows: arrow_flight::decode::FlightRecordBatchStream,
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
    let text = pretty_format_batches(&batches)?.to_string();
    writeln!(out, "{}", harmless_lines(&text))?;
    let rows = if count == 1 { "row" } else { "rows" };
    let count = output::thousands(count as u64);
    if more {
        writeln!(out, "the first {count} {rows}; --rows N shows more, --format csv all")?;
    } else {
        writeln!(out, "{count} {rows}")?;
    }
    Ok(())
}
