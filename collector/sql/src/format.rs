//! Rows as bytes: JSON, JSON lines, CSV, Arrow IPC.

use std::sync::Arc;

use arrow_array::{ArrayRef, RecordBatch, RecordBatchOptions, StringArray};
use arrow_cast::display::{ArrayFormatter, FormatOptions};
use arrow_ipc::writer::StreamWriter;
use arrow_json::{WriterBuilder, writer::LineDelimited};
use arrow_schema::{ArrowError, DataType, Field, Schema, SchemaRef};
use serde::Deserialize;

/// How rows are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// An array of objects; nulls are written.
    Json,
    /// An object a line.
    Ndjson,
    /// With names of columns in the first line; lists and maps as text.
    Csv,
    /// A stream of Arrow's IPC format.
    Arrow,
}

impl Format {
    /// By what a client says that it takes.
    pub fn accepted(accept: &str) -> Option<Self> {
        [Self::Json, Self::Ndjson, Self::Csv, Self::Arrow]
            .into_iter()
            .find(|format| accept.split([',', ';']).any(|kind| kind.trim() == format.content_type()))
    }

    /// As headers have it.
    pub fn content_type(self) -> &'static str {
        match self {
            Self::Json => "application/json",
            Self::Ndjson => "application/x-ndjson",
            Self::Csv => "text/csv",
            Self::Arrow => "application/vnd.apache.arrow.stream",
        }
    }
}

/// Writes rows batch by batch.
pub struct Writer {
    format: Format,
    schema: SchemaRef,
    /// Whether something was written.
    begun: bool,
    stream: Option<StreamWriter<Vec<u8>>>,
}

impl Writer {
    /// Of rows with these columns.
    pub fn new(format: Format, schema: SchemaRef) -> Self {
        Self { format, schema, begun: false, stream: None }
    }

    /// The bytes of a batch, and what comes before it.
    ///
    /// # Errors
    /// When the format has no form for a column.
    pub fn write(&mut self, batch: &RecordBatch) -> Result<Vec<u8>, ArrowError> {
        let begun = std::mem::replace(&mut self.begun, true);
        let mut bytes = Vec::new();
        match self.format {
            Format::Json | Format::Ndjson => {
                let builder = WriterBuilder::new().with_explicit_nulls(true);
                let mut writer = builder.build::<_, LineDelimited>(&mut bytes);
                writer.write(batch)?;
                writer.finish()?;
                if self.format == Format::Json {
                    bytes = array(bytes, begun);
                }
            }
            Format::Csv => {
                let batch = flat(batch)?;
                let mut writer = arrow_csv::WriterBuilder::new().with_header(!begun).build(&mut bytes);
                writer.write(&batch)?;
            }
            Format::Arrow => {
                let stream = match &mut self.stream {
                    Some(stream) => stream,
                    none => none.insert(StreamWriter::try_new(Vec::new(), &self.schema)?),
                };
                stream.write(batch)?;
                bytes = std::mem::take(stream.get_mut());
            }
        }
        Ok(bytes)
    }

    /// The bytes after the last batch.
    ///
    /// # Errors
    /// When the format has no form for a column.
    pub fn finish(&mut self) -> Result<Vec<u8>, ArrowError> {
        let mut bytes = Vec::new();
        if !self.begun && self.format != Format::Ndjson {
            bytes = self.write(&RecordBatch::new_empty(self.schema.clone()))?;
        }
        match self.format {
            Format::Json => bytes.extend_from_slice(b"]\n"),
            Format::Arrow => {
                if let Some(mut stream) = self.stream.take() {
                    stream.finish()?;
                    bytes.append(stream.get_mut());
                }
            }
            Format::Ndjson | Format::Csv => {}
        }
        Ok(bytes)
    }
}

/// Lines of JSON as elements of an array, the first of which is `[`.
fn array(lines: Vec<u8>, begun: bool) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(lines.len() + lines.len() / 16 + 1);
    let mut before: &[u8] = if begun { b",\n" } else { b"[" };
    // JSON has no line ends within its texts.
    for line in lines.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
        bytes.extend_from_slice(before);
        bytes.extend_from_slice(line);
        before = b",\n";
    }
    if lines.is_empty() && !begun {
        bytes.push(b'[');
    }
    bytes
}

/// Columns of lists, structs and maps as text.
fn flat(batch: &RecordBatch) -> Result<RecordBatch, ArrowError> {
    let mut fields = Vec::new();
    let mut columns: Vec<ArrayRef> = Vec::new();
    for (field, column) in batch.schema().fields().iter().zip(batch.columns()) {
        if field.data_type().is_nested() {
            let options = FormatOptions::default();
            let formatter = ArrayFormatter::try_new(column, &options)?;
            let texts = (0..column.len()).map(|row| column.is_valid(row).then(|| formatter.value(row).to_string()));
            columns.push(Arc::new(texts.collect::<StringArray>()));
            fields.push(Arc::new(Field::new(field.name(), DataType::Utf8, true)));
        } else {
            columns.push(column.clone());
            fields.push(field.clone());
        }
    }
    let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    RecordBatch::try_new_with_options(Arc::new(Schema::new(fields)), columns, &options)
}
