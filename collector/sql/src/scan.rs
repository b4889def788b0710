//! Reads a table a part at a time.

use std::{fmt, sync::Arc};

use arrow_array::{RecordBatch, RecordBatchOptions};
use arrow_schema::SchemaRef;
use clew_query::exec::{Budget, Spans, Wanted};
use datafusion::{
    common::{DataFusionError, Result, Statistics, internal_err, stats::Precision, tree_node::TreeNodeRecursion},
    execution::{SendableRecordBatchStream, TaskContext},
    physical_expr::{EquivalenceProperties, PhysicalExpr},
    physical_plan::{
        DisplayAs, DisplayFormatType, ExecutionPlan, Partitioning, PlanProperties,
        execution_plan::{Boundedness, EmissionType},
        stream::RecordBatchStreamAdapter,
    },
};

use crate::{columns::SpanColumn, entries::Entries, error::external, values};

/// What is read.
#[derive(Clone)]
pub struct Source {
    pub spans: Arc<Spans>,
    pub columns: Arc<Vec<SpanColumn>>,
    /// None: the spans themselves.
    pub entries: Option<Entries>,
    pub budget: Budget,
}

/// Reads some columns of the rows that may be wanted.
pub struct Scan {
    source: Source,
    wanted: Wanted,
    /// Places of columns.
    projection: Vec<usize>,
    schema: SchemaRef,
    parts: Vec<usize>,
    /// Of rows; of the first ones no more are needed.
    limit: Option<usize>,
    properties: Arc<PlanProperties>,
}

impl Scan {
    pub fn new(
        source: Source,
        schema: SchemaRef,
        projection: Vec<usize>,
        wanted: Wanted,
        limit: Option<usize>,
        partitions: usize,
    ) -> Self {
        let parts = source.spans.parts_with(&wanted);
        let properties = PlanProperties::new(
            EquivalenceProperties::new(schema.clone()),
            Partitioning::UnknownPartitioning(partitions.min(parts.len()).max(1)),
            EmissionType::Incremental,
            Boundedness::Bounded,
        );
        Self { source, wanted, projection, schema, parts, limit, properties: Arc::new(properties) }
    }

    /// Whether all rows of the parts come.
    fn is_all(&self) -> bool {
        let Wanted { range, trace, filter } = &self.wanted;
        self.source.entries.is_none()
            && *range == Wanted::ALL.range
            && trace.is_none()
            && filter.is_none()
            && self.limit.is_none()
    }
}

impl fmt::Debug for Scan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scan").field("parts", &self.parts.len()).field("columns", &self.schema.fields().len()).finish()
    }
}

impl DisplayAs for Scan {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let columns: Vec<&str> = self.schema.fields().iter().map(|field| &**field.name()).collect();
        write!(f, "Scan: parts={}, columns=[{}]", self.parts.len(), columns.join(", "))?;
        if let Some(filter) = &self.wanted.filter {
            write!(f, ", looked for={filter}")?;
        }
        Ok(())
    }
}

impl ExecutionPlan for Scan {
    fn name(&self) -> &'static str {
        "Scan"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        Vec::new()
    }

    fn apply_expressions(
        &self,
        _: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }

    fn with_new_children(self: Arc<Self>, children: Vec<Arc<dyn ExecutionPlan>>) -> Result<Arc<dyn ExecutionPlan>> {
        if children.is_empty() { Ok(self) } else { internal_err!("a scan has no children") }
    }

    fn execute(&self, partition: usize, context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let partitions = self.properties.output_partitioning().partition_count();
        let batches = Batches {
            source: self.source.clone(),
            wanted: self.wanted.clone(),
            projection: self.projection.clone(),
            schema: self.schema.clone(),
            parts: self.parts.iter().copied().skip(partition).step_by(partitions).collect(),
            next: 0,
            batch: None,
            most: context.session_config().batch_size(),
            left: self.limit.unwrap_or(usize::MAX),
        };
        let stream = futures_util::stream::iter(batches);
        Ok(Box::pin(RecordBatchStreamAdapter::new(self.schema.clone(), stream)))
    }

    fn partition_statistics(&self, partition: Option<usize>) -> Result<Arc<Statistics>> {
        let mut statistics = Statistics::new_unknown(&self.schema);
        if partition.is_none() && self.is_all() {
            let rows = self.parts.iter().map(|part| self.source.spans.len(*part)).sum();
            statistics.num_rows = Precision::Exact(rows);
        }
        Ok(Arc::new(statistics))
    }
}

/// The batches of a partition: read when they are asked for.
struct Batches {
    source: Source,
    wanted: Wanted,
    projection: Vec<usize>,
    schema: SchemaRef,
    parts: Vec<usize>,
    next: usize,
    /// Of the part that was read last, and how many of its rows were passed on.
    batch: Option<(RecordBatch, usize)>,
    /// Rows that are passed on together.
    most: usize,
    left: usize,
}

impl Batches {
    fn read(&self, part: usize) -> Result<RecordBatch> {
        let Source { spans, columns, entries, budget } = &self.source;
        budget.check().map_err(|stopped| external(stopped.into()))?;
        let rows = spans.rows(part, &self.wanted).map_err(external)?;
        if rows.is_empty() {
            return Ok(RecordBatch::new_empty(self.schema.clone()));
        }
        let (arrays, count) = match entries {
            Some(entries) => entries.read(spans, part, &rows, &self.projection, columns)?,
            None => {
                let column = |at: &usize| values::column(spans, part, &rows, &columns[*at], columns);
                (self.projection.iter().map(column).collect::<Result<_>>()?, rows.len())
            }
        };
        spans.forget(part);
        let options = RecordBatchOptions::new().with_row_count(Some(count));
        RecordBatch::try_new_with_options(self.schema.clone(), arrays, &options).map_err(DataFusionError::from)
    }
}

impl Iterator for Batches {
    type Item = Result<RecordBatch>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if self.left == 0 {
                return None;
            }
            if let Some((batch, done)) = &mut self.batch
                && *done < batch.num_rows()
            {
                let rows = self.most.min(batch.num_rows() - *done).min(self.left);
                let slice = batch.slice(*done, rows);
                *done += rows;
                self.left -= rows;
                return Some(Ok(slice));
            }
            self.batch = None;
            let part = *self.parts.get(self.next)?;
            self.next += 1;
            match self.read(part) {
                Ok(batch) => self.batch = Some((batch, 0)),
                Err(error) => {
                    self.left = 0;
                    return Some(Err(error));
                }
            }
        }
    }
}
