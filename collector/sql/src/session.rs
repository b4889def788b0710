//! Plans and runs queries that only read.

use std::sync::Arc;

use arrow_array::RecordBatch;
use arrow_schema::{DataType, Field, Schema, SchemaRef};
use clew_query::exec::{Budget, Spans};
use datafusion::{
    common::{DataFusionError, ParamValues, Result, ScalarValue, metadata::ScalarAndMetadata},
    datasource::MemTable,
    execution::{
        SendableRecordBatchStream, SessionStateBuilder,
        disk_manager::{DiskManagerBuilder, DiskManagerMode},
        memory_pool::{GreedyMemoryPool, MemoryConsumer, MemoryLimit, MemoryReservation},
        object_store::ObjectStoreRegistry,
        runtime_env::RuntimeEnvBuilder,
    },
    logical_expr::LogicalPlan,
    physical_plan::stream::RecordBatchStreamAdapter,
    prelude::{SQLOptions, SessionConfig, SessionContext},
};

use futures_util::StreamExt;

use crate::{
    allowed, columns,
    entries::Entries,
    error::SqlError,
    functions::{self, Account, Constants},
    held::Watching,
    plain,
    resources::Resources,
    scan::Source,
    table::Table,
};

/// What a query may take.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Memory for what it keeps: groups, sorted rows, sides of joins.
    pub memory_bytes: usize,
    /// Threads that work on it.
    pub threads: usize,
}

/// The stack of threads that plan and run queries: enough for the longest sum in a debug build. What is not used costs nothing.
pub const STACK_BYTES: usize = 128 << 20;

/// Where the tables are.
pub const CATALOG: &str = "clew";

/// The schema that they are in.
pub const SCHEMA: &str = "public";

const TABLES: [&str; 4] = ["events", "links", "resources", "spans"];

/// The tables of a snapshot, for one query.
pub struct Session {
    context: SessionContext,
    account: Arc<Account>,
}

/// A query that can be run.
pub struct Planned {
    session: SessionContext,
    plan: LogicalPlan,
}

/// No place outside can be named.
#[derive(Debug)]
struct NoStores;

impl ObjectStoreRegistry for NoStores {
    fn register_store(
        &self,
        _: &url::Url,
        _: Arc<dyn object_store::ObjectStore>,
    ) -> Option<Arc<dyn object_store::ObjectStore>> {
        None
    }

    fn get_store(&self, url: &url::Url) -> Result<Arc<dyn object_store::ObjectStore>> {
        Err(DataFusionError::Plan(format!("{url} cannot be read: only what is stored here can be asked for")))
    }
}

impl Session {
    /// Finds out what there is. Blocking.
    ///
    /// # Errors
    /// When resources cannot be read.
    pub fn open(spans: Arc<Spans>, budget: Budget, limits: Limits) -> Result<Self, SqlError> {
        let resources = Resources::of(&spans)?;
        let columns = Arc::new(columns::of_spans(&spans, &resources)?);
        let config = SessionConfig::new()
            .with_target_partitions(limits.threads.max(1))
            .with_information_schema(true)
            .with_default_catalog_and_schema(CATALOG, SCHEMA);
        let runtime = RuntimeEnvBuilder::new()
            .with_memory_pool(Arc::new(GreedyMemoryPool::new(limits.memory_bytes)))
            .with_disk_manager_builder(DiskManagerBuilder::default().with_mode(DiskManagerMode::Disabled))
            .with_object_store_registry(Arc::new(NoStores))
            .build_arc()?;
        let account = Arc::new(Account::new(&runtime.memory_pool));
        let mut state = SessionStateBuilder::new()
            .with_config(config)
            .with_runtime_env(runtime)
            .with_default_features()
            .with_physical_optimizer_rule(Arc::new(Watching))
            .build();
        // Nothing makes tables of files.
        state.table_factories_mut().clear();
        functions::count(&mut state, &account)?;
        let session = SessionContext::new_with_state(state);
        let table = |entries| {
            Arc::new(Table::new(Source {
                spans: spans.clone(),
                columns: columns.clone(),
                entries,
                budget: budget.clone(),
            }))
        };
        session.register_table("spans", table(None))?;
        session.register_table("events", table(Some(Entries::Events)))?;
        session.register_table("links", table(Some(Entries::Links)))?;
        let resources = resources.table()?;
        session.register_table("resources", Arc::new(MemTable::try_new(resources.schema(), vec![vec![resources]])?))?;
        Ok(Self { context: session, account })
    }

    /// The tables and their columns.
    ///
    /// # Errors
    /// When the engine cannot tell.
    pub async fn tables(&self) -> Result<Vec<(String, SchemaRef)>, SqlError> {
        let mut tables = Vec::new();
        for name in TABLES {
            let table = self.context.table_provider(name).await?;
            tables.push((name.to_owned(), plain::schema(&table.schema())));
        }
        Ok(tables)
    }

    /// Understands a query; `parameters` stand for `$1`, `$2` and so on, or for one `?` after the other.
    ///
    /// # Errors
    /// When it makes no sense, or does anything but read.
    pub async fn plan(&self, query: &str, parameters: Option<ParamValues>) -> Result<Planned, SqlError> {
        let constants = Constants::of(query.len() + parameters.as_ref().map_or(0, size));
        self.account.allow_constants(constants.most_bytes);
        {
            let state = self.context.state_ref();
            let mut state = state.write();
            let config = state.config().clone().with_batch_size(constants.batch_rows);
            *state.config_mut() = config;
        }
        let query = allowed::text(query)?;
        let plan = self.context.state().create_logical_plan(&query).await?;
        let reads = SQLOptions::new().with_allow_ddl(false).with_allow_dml(false).with_allow_statements(false);
        reads.verify_plan(&plan).map_err(|error| {
            SqlError::Invalid(format!("{}; only queries that read are answered", SqlError::from(error)))
        })?;
        allowed::plan(&plan)?;
        let plan = match parameters {
            Some(ParamValues::List(values)) if values.len() > plan.get_parameter_types()?.len() => {
                let (given, has) = (values.len(), plan.get_parameter_types()?.len());
                return Err(SqlError::Invalid(format!("{given} parameters are given, and the query has {has}")));
            }
            Some(parameters) => plan.with_param_values(parameters)?,
            None => plan,
        };
        Ok(Planned { session: self.context.clone(), plan })
    }
}

/// What parameters take.
fn size(parameters: &ParamValues) -> usize {
    let sizes = |values: &mut dyn Iterator<Item = &ScalarAndMetadata>| values.map(|value| value.value.size()).sum();
    match parameters {
        ParamValues::List(values) => sizes(&mut values.iter()),
        ParamValues::Map(values) => sizes(&mut values.values()),
    }
}

/// The first row of a batch as parameters: each stands for the one of its place.
///
/// # Errors
/// When there is no row, or a value of a kind that no parameter has.
pub fn parameters(row: &RecordBatch) -> Result<ParamValues, SqlError> {
    if row.num_rows() != 1 {
        return Err(SqlError::Invalid(format!("parameters of {} queries at once, one is the most", row.num_rows())));
    }
    let values = row.columns().iter().map(|column| ScalarValue::try_from_array(column, 0));
    Ok(ParamValues::from(values.collect::<Result<Vec<_>>>()?))
}

impl Planned {
    /// The columns of the answer.
    pub fn schema(&self) -> SchemaRef {
        plain::schema(self.plan.schema().as_arrow())
    }

    /// The parameters that it has, by name, in order, with their types where they are known.
    ///
    /// # Errors
    /// When the engine cannot tell.
    pub fn parameters(&self) -> Result<SchemaRef, SqlError> {
        let mut types: Vec<_> = self.plan.get_parameter_types()?.into_iter().collect();
        types.sort_unstable_by_key(|(name, _)| (name.len(), name.clone()));
        let field = |(name, kind): (String, Option<DataType>)| Field::new(name, kind.unwrap_or(DataType::Null), true);
        Ok(plain::schema(&Schema::new(types.into_iter().map(field).collect::<Vec<_>>())))
    }

    /// Runs it: rows are worked out as they are asked for.
    ///
    /// # Errors
    /// When it cannot be begun.
    pub async fn run(self) -> Result<SendableRecordBatchStream, SqlError> {
        let schema = self.schema();
        let lists = self.room_for_lists()?;
        let frame = self.session.execute_logical_plan(self.plan).await?;
        let rows = frame.execute_stream().await?;
        let plain = schema.clone();
        let rows = rows.map(move |batch| {
            let _as_long_as_it_runs = &lists;
            Ok(plain::batch(&batch?, &plain)?)
        });
        Ok(Box::pin(RecordBatchStreamAdapter::new(schema, rows)))
    }

    /// The engine counts a quarter of what gathered lists take: of each value what it says, and not what it takes to be in a list. So
    /// the query gets a quarter.
    fn room_for_lists(&self) -> Result<Option<MemoryReservation>> {
        let pool = &self.session.runtime_env().memory_pool;
        let MemoryLimit::Finite(limit) = pool.memory_limit() else { return Ok(None) };
        if !allowed::gathers_lists(&self.plan)? {
            return Ok(None);
        }
        let room = MemoryConsumer::new("lists").register(pool);
        room.try_grow(limit / 4 * 3)?;
        Ok(Some(room))
    }
}
