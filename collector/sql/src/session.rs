//! Plans and runs queries that only read.

use std::{borrow::Cow, sync::Arc};

use arrow_array::RecordBatch;
use arrow_schema::{DataType, Field, Schema, SchemaRef};
use clew_query::exec::{Budget, Spans};
use datafusion::{
    common::{
        DataFusionError, ParamValues, Result, ScalarValue,
        metadata::ScalarAndMetadata,
        plan_err,
        tree_node::{TreeNode, TreeNodeRecursion},
    },
    datasource::MemTable,
    execution::{
        SendableRecordBatchStream, SessionStateBuilder,
        disk_manager::{DiskManagerBuilder, DiskManagerMode},
        memory_pool::GreedyMemoryPool,
        object_store::ObjectStoreRegistry,
        runtime_env::RuntimeEnvBuilder,
    },
    logical_expr::{Cast, Expr, LogicalPlan, TryCast},
    physical_plan::stream::RecordBatchStreamAdapter,
    prelude::{SQLOptions, SessionConfig, SessionContext},
    sql::sqlparser::{
        dialect::GenericDialect,
        tokenizer::{Token, Tokenizer},
    },
};

use futures_util::StreamExt;

use crate::{
    columns,
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

/// A query is no longer than this.
pub const MAX_QUERY_BYTES: usize = 256 << 10;

/// Words and operators of a query at most; literals, commas and brackets are free. The time to plan a sum grows with the square of its
/// terms, and it takes a call within a call for each.
const MAX_WORDS: usize = 1_000;

/// Structs and maps that a query makes at most: the type of one may have that of another many times, and that of a third. Planning
/// looks at all of it, and nothing stops it.
const MAX_STRUCTS: usize = 2;
const MAKERS: [&str; 4] = ["struct", "named_struct", "map", "row"];

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
        let query = checked(query)?;
        let plan = self.context.state().create_logical_plan(&query).await?;
        let reads = SQLOptions::new().with_allow_ddl(false).with_allow_dml(false).with_allow_statements(false);
        reads.verify_plan(&plan).map_err(|error| {
            SqlError::Invalid(format!("{}; only queries that read are answered", SqlError::from(error)))
        })?;
        no_fixed_lists(&plan)?;
        let plan = match parameters {
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

/// Refuses lists of a fixed length: a null of such a type takes as much as all of its values.
fn no_fixed_lists(plan: &LogicalPlan) -> Result<()> {
    plan.apply_with_subqueries(|plan| {
        plan.apply_expressions(|expr| {
            expr.apply(|expr| {
                if let Expr::Cast(Cast { field, .. }) | Expr::TryCast(TryCast { field, .. }) = expr
                    && has_fixed_list(field.data_type())
                {
                    return plan_err!("lists of a fixed length are not offered: write BIGINT[] instead of BIGINT[3]");
                }
                Ok(TreeNodeRecursion::Continue)
            })
        })
    })
    .map(drop)
}

fn has_fixed_list(kind: &DataType) -> bool {
    match kind {
        DataType::FixedSizeList(..) | DataType::FixedSizeBinary(_) => true,
        DataType::List(item) | DataType::LargeList(item) | DataType::Map(item, _) => has_fixed_list(item.data_type()),
        DataType::Struct(fields) => fields.iter().any(|field| has_fixed_list(field.data_type())),
        _ => false,
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

/// The query, when it is not too large; each `?` has its number.
fn checked(query: &str) -> Result<Cow<'_, str>, SqlError> {
    if query.len() > MAX_QUERY_BYTES {
        return Err(SqlError::Invalid(format!("the query has {} bytes, {MAX_QUERY_BYTES} are the most", query.len())));
    }
    let tokens = Tokenizer::new(&GenericDialect {}, query).tokenize();
    let tokens = tokens.map_err(|error| SqlError::Invalid(error.to_string()))?;
    let free = |token: &Token| {
        matches!(
            token,
            Token::Whitespace(_)
                | Token::Number(..)
                | Token::SingleQuotedString(_)
                | Token::Comma
                | Token::Period
                | Token::LParen
                | Token::RParen
        )
    };
    let words = tokens.iter().filter(|token| !free(token)).count();
    if words > MAX_WORDS {
        return Err(SqlError::Invalid(format!(
            "the query has {words} words and operators, {MAX_WORDS} are the most; instead of many comparisons use IN (...)"
        )));
    }
    let mut makers = tokens.iter().filter(|token| !matches!(token, Token::Whitespace(_))).peekable();
    let mut structs = 0;
    while let Some(token) = makers.next() {
        let is_opened = matches!(makers.peek(), Some(Token::LParen | Token::LBrace));
        let is_maker = matches!(token, Token::Word(word) if MAKERS.contains(&&*word.value.to_lowercase()));
        structs += usize::from(is_opened && is_maker || *token == Token::LBrace);
    }
    if structs > MAX_STRUCTS {
        return Err(SqlError::Invalid(format!(
            "the query makes structs or maps in {structs} places, {MAX_STRUCTS} are the most"
        )));
    }
    let is_unnumbered = |token: &Token| matches!(token, Token::Placeholder(name) if name == "?");
    if !tokens.iter().any(is_unnumbered) {
        return Ok(query.into());
    }
    let mut parameters = 0;
    let numbered = tokens.iter().map(|token| {
        if is_unnumbered(token) {
            parameters += 1;
            return format!("${parameters}");
        }
        token.to_string()
    });
    Ok(numbered.collect::<String>().into())
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
        let frame = self.session.execute_logical_plan(self.plan).await?;
        let rows = frame.execute_stream().await?;
        let plain = schema.clone();
        let rows = rows.map(move |batch| Ok(plain::batch(&batch?, &plain)?));
        Ok(Box::pin(RecordBatchStreamAdapter::new(schema, rows)))
    }
}
