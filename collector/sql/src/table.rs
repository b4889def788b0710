//! Tables whose rows are read from what is stored.

use std::{fmt, sync::Arc};

use arrow_schema::SchemaRef;
use async_trait::async_trait;
use datafusion::{
    catalog::{Session, TableProvider},
    common::{Result, Statistics},
    logical_expr::{Expr, TableProviderFilterPushDown, TableType},
    physical_plan::ExecutionPlan,
};

use crate::{
    columns,
    pushdown::Conditions,
    scan::{Scan, Source},
};

/// `spans`, `events` or `links`.
pub struct Table {
    source: Source,
    schema: SchemaRef,
}

impl Table {
    pub fn new(source: Source) -> Self {
        let schema = match source.entries {
            None => columns::schema(source.columns.iter()),
            Some(entries) => entries.schema(),
        };
        Self { source, schema }
    }

    fn conditions(&self) -> Conditions<'_> {
        Conditions { columns: &self.source.columns, entries: self.source.entries }
    }
}

impl fmt::Debug for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Table").field("entries", &self.source.entries).finish()
    }
}

#[async_trait]
impl TableProvider for Table {
    fn schema(&self) -> SchemaRef {
        self.schema.clone()
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    fn supports_filters_pushdown(&self, filters: &[&Expr]) -> Result<Vec<TableProviderFilterPushDown>> {
        let conditions = self.conditions();
        let support = |filter: &&Expr| match conditions.wanted(filter) {
            // What comes may be more.
            Some(_) => TableProviderFilterPushDown::Inexact,
            None => TableProviderFilterPushDown::Unsupported,
        };
        Ok(filters.iter().map(support).collect())
    }

    async fn scan(
        &self,
        session: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let projection = projection.cloned().unwrap_or_else(|| (0..self.schema.fields().len()).collect());
        let schema = Arc::new(self.schema.project(&projection)?);
        let wanted = self.conditions().all(filters);
        // Events are fewer or more than their spans.
        let limit = limit.filter(|_| filters.is_empty());
        let partitions = session.config().target_partitions();
        Ok(Arc::new(Scan::new(self.source.clone(), schema, projection, wanted, limit, partitions)))
    }

    fn statistics(&self) -> Option<Statistics> {
        None
    }
}
