//! Rows that the engine holds, or makes many of, without counting them: those of a window, and lists that become rows. And joins, which
//! make rows for ever of few, without ever letting anybody see whether the time is up.

use std::{fmt, sync::Arc};

use arrow_array::{Array, ArrayRef, RecordBatch, cast::AsArray};
use arrow_schema::DataType;
use datafusion::{
    common::{
        Result,
        config::ConfigOptions,
        internal_err, resources_err,
        tree_node::{Transformed, TransformedResult, TreeNode, TreeNodeRecursion},
    },
    execution::{SendableRecordBatchStream, TaskContext, memory_pool::MemoryConsumer},
    physical_expr::PhysicalExpr,
    physical_optimizer::PhysicalOptimizerRule,
    physical_plan::{
        ChildrenPropertiesMode, DisplayAs, DisplayFormatType, ExecutionPlan, PlanProperties, ReplaceChildrenOptions,
        coop::CooperativeExec,
        joins::{
            CrossJoinExec, HashJoinExec, NestedLoopJoinExec, PiecewiseMergeJoinExec, SortMergeJoinExec,
            SymmetricHashJoinExec,
        },
        recursive_query::RecursiveQueryExec,
        stream::RecordBatchStreamAdapter,
        unnest::UnnestExec,
    },
};
use futures_util::{StreamExt, stream};

use crate::{
    functions::bytes_of,
    windows::{Held, Window},
};

/// What the lists of a batch may become.
const MAX_UNNESTED_BYTES: usize = 32 << 20;

/// Counts what comes into windows, cuts what comes to lists that become rows, and has what makes many rows of few give way: the engine
/// does so only where rows are read.
#[derive(Debug)]
pub struct Watching;

impl PhysicalOptimizerRule for Watching {
    fn optimize(&self, plan: Arc<dyn ExecutionPlan>, _: &ConfigOptions) -> Result<Arc<dyn ExecutionPlan>> {
        plan.transform_up(|plan| {
            let why = match Window::of(&plan)? {
                Some(window) => Why::Held(Arc::new(window)),
                None if plan.is::<UnnestExec>() => Why::Unnested,
                None if makes_many(&plan) => return Ok(Transformed::yes(Arc::new(CooperativeExec::new(plan)))),
                None => return Ok(Transformed::no(plan)),
            };
            let watched =
                |input: &Arc<dyn ExecutionPlan>| Arc::new(Watched { input: input.clone(), why: why.clone() }) as _;
            let inputs = plan.children().into_iter().map(watched).collect();
            let options = ReplaceChildrenOptions::new(ChildrenPropertiesMode::Recompute);
            let plan = plan.replace_children(inputs, options)?;
            Ok(Transformed::yes(Arc::new(CooperativeExec::new(plan))))
        })
        .data()
    }

    fn name(&self) -> &str {
        "watching"
    }

    fn schema_check(&self) -> bool {
        true
    }
}

fn makes_many(plan: &Arc<dyn ExecutionPlan>) -> bool {
    plan.is::<CrossJoinExec>()
        || plan.is::<NestedLoopJoinExec>()
        || plan.is::<HashJoinExec>()
        || plan.is::<SortMergeJoinExec>()
        || plan.is::<PiecewiseMergeJoinExec>()
        || plan.is::<SymmetricHashJoinExec>()
        || plan.is::<RecursiveQueryExec>()
}

/// Why rows are watched.
#[derive(Clone, Debug)]
enum Why {
    /// A window holds them.
    Held(Arc<Window>),
    /// Each becomes as many as its lists have values.
    Unnested,
}

/// Passes rows on.
#[derive(Debug)]
struct Watched {
    input: Arc<dyn ExecutionPlan>,
    why: Why,
}

impl DisplayAs for Watched {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.why {
            Why::Held(_) => "Watched: held",
            Why::Unnested => "Watched: unnested",
        })
    }
}

impl ExecutionPlan for Watched {
    fn name(&self) -> &'static str {
        "Watched"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        self.input.properties()
    }

    fn maintains_input_order(&self) -> Vec<bool> {
        vec![true]
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![&self.input]
    }

    fn apply_expressions(
        &self,
        _: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }

    fn with_new_children(self: Arc<Self>, mut inputs: Vec<Arc<dyn ExecutionPlan>>) -> Result<Arc<dyn ExecutionPlan>> {
        match inputs.pop() {
            Some(input) if inputs.is_empty() => Ok(Arc::new(Self { input, why: self.why.clone() })),
            _ => internal_err!("one input is watched"),
        }
    }

    fn execute(&self, partition: usize, context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let rows = self.input.execute(partition, context.clone())?;
        let schema = rows.schema();
        Ok(match &self.why {
            Why::Held(window) => {
                let reservation = MemoryConsumer::new("rows of a window").register(context.memory_pool());
                let mut held = Held::new(window.clone(), reservation);
                let rows = rows.map(move |batch| {
                    let batch = batch?;
                    held.hold(&batch)?;
                    Ok(batch)
                });
                Box::pin(RecordBatchStreamAdapter::new(schema, rows))
            }
            Why::Unnested => {
                let rows = rows.flat_map(|batch| {
                    stream::iter(match batch.and_then(cut) {
                        Ok(batches) => batches.into_iter().map(Ok).collect::<Vec<_>>(),
                        Err(error) => vec![Err(error)],
                    })
                });
                Box::pin(RecordBatchStreamAdapter::new(schema, rows))
            }
        })
    }
}

/// The rows of a batch in parts that do not become too much: all of a row comes with each value of its lists.
fn cut(batch: RecordBatch) -> Result<Vec<RecordBatch>> {
    let (mut done, mut waiting) = (Vec::new(), vec![batch]);
    while let Some(batch) = waiting.pop() {
        let bytes: usize = batch.columns().iter().map(bytes_of).sum();
        let values = batch.columns().iter().map(|column| most_values(column)).max().unwrap_or(0);
        let rows = batch.num_rows();
        if bytes.saturating_mul(values) <= MAX_UNNESTED_BYTES {
            done.push(batch);
        } else if rows == 1 {
            return resources_err!("{bytes} bytes for each of the {values} values of a list");
        } else {
            // The first half is next.
            waiting.push(batch.slice(rows / 2, rows - rows / 2));
            waiting.push(batch.slice(0, rows / 2));
        }
    }
    Ok(done)
}

/// How many values the longest list has, with those of lists in it.
fn most_values(array: &dyn Array) -> usize {
    lists(array).map(|list| list.len().max(all_values(&list))).max().unwrap_or(0)
}

fn all_values(array: &dyn Array) -> usize {
    lists(array).map(|list| list.len().max(all_values(&list))).sum()
}

fn lists(array: &dyn Array) -> Box<dyn Iterator<Item = ArrayRef> + '_> {
    match array.data_type() {
        DataType::List(_) => Box::new(array.as_list::<i32>().iter().flatten()),
        DataType::LargeList(_) => Box::new(array.as_list::<i64>().iter().flatten()),
        DataType::FixedSizeList(..) => Box::new(array.as_fixed_size_list().iter().flatten()),
        _ => Box::new(std::iter::empty()),
    }
}
