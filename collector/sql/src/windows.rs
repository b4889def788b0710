//! What windows hold. The engine counts none of it: the rows of partitions that have not ended, once more while it puts them together,
//! and what its functions give for each row.

use std::sync::Arc;

use arrow_array::{Array, ArrayRef, RecordBatch, cast::AsArray};
use arrow_schema::DataType;
use datafusion::{
    arrow::compute::partition,
    common::{Result, ScalarValue, plan_err},
    execution::memory_pool::MemoryReservation,
    physical_expr::{
        PhysicalExpr,
        window::{PlainAggregateWindowExpr, SlidingAggregateWindowExpr, WindowExpr},
    },
    physical_plan::{
        ExecutionPlan, InputOrderMode,
        windows::{BoundedWindowAggExec, WindowAggExec},
    },
};

use crate::functions::bytes_of;

/// Aggregates that give all that they were given: over a window that is a list for each row, as long as its frame.
const GATHERING: [&str; 2] = ["array_agg", "string_agg"];

/// Batches are held, and a copy in one piece.
const COPIES: usize = 2;

/// What is known of a window before its rows come.
#[derive(Debug)]
pub struct Window {
    /// What partitions are told by, if one is let go once the next one begins.
    keys: Vec<Arc<dyn PhysicalExpr>>,
    /// Functions that give texts or lists: each row may have the longest there is.
    long: Vec<Arc<dyn WindowExpr>>,
}

impl Window {
    /// None: the plan is no window.
    ///
    /// # Errors
    /// When what it computes may have any length.
    pub fn of(plan: &Arc<dyn ExecutionPlan>) -> Result<Option<Self>> {
        let (functions, keys) = if let Some(window) = plan.downcast_ref::<WindowAggExec>() {
            (window.window_expr(), Vec::new())
        } else if let Some(window) = plan.downcast_ref::<BoundedWindowAggExec>() {
            let functions = window.window_expr();
            let is_sorted = window.input_order_mode == InputOrderMode::Sorted;
            (
                functions,
                functions.iter().take(usize::from(is_sorted)).flat_map(|one| one.partition_by().to_vec()).collect(),
            )
        } else {
            return Ok(None);
        };
        let mut long = Vec::new();
        for function in functions {
            if let Some(name) = aggregate(function).filter(|name| GATHERING.contains(&&**name)) {
                return plan_err!(
                    "{name} is not offered over a window, where it gives a list for each row: use GROUP BY"
                );
            }
            if !is_of_fixed_length(function.field()?.data_type()) {
                long.push(function.clone());
            }
        }
        Ok(Some(Self { keys, long }))
    }

    fn size(&self, batch: &RecordBatch) -> Result<Size> {
        let mut longest = 0;
        for function in &self.long {
            longest = function.evaluate_args(batch)?.iter().map(longest_value).fold(longest, usize::max);
        }
        Ok(Size { rows: batch.num_rows(), bytes: batch.columns().iter().map(bytes_of).sum(), longest })
    }
}

fn aggregate(function: &Arc<dyn WindowExpr>) -> Option<String> {
    let plain = function.as_any().downcast_ref::<PlainAggregateWindowExpr>();
    let sliding = function.as_any().downcast_ref::<SlidingAggregateWindowExpr>();
    let aggregate = plain.map(PlainAggregateWindowExpr::get_aggregate_expr);
    let aggregate = aggregate.or_else(|| sliding.map(SlidingAggregateWindowExpr::get_aggregate_expr));
    Some(aggregate?.fun().name().to_owned())
}

fn is_of_fixed_length(kind: &DataType) -> bool {
    matches!(kind, DataType::Boolean | DataType::Null) || kind.primitive_width().is_some()
}

/// What the longest value takes.
fn longest_value(values: &ArrayRef) -> usize {
    let longest = match values.data_type() {
        kind if is_of_fixed_length(kind) => None,
        DataType::Utf8View => values.as_string_view().lengths().map(|length| length as usize).max(),
        DataType::Utf8 => values.as_string::<i32>().offsets().lengths().max(),
        DataType::Dictionary(..) => Some(longest_value(values.as_any_dictionary().values())),
        _ => (0..values.len()).map(|row| bytes_of(&values.slice(row, 1))).max(),
    };
    longest.unwrap_or_default()
}

/// Rows that are held.
#[derive(Clone, Copy, Debug, Default)]
struct Size {
    rows: usize,
    bytes: usize,
    longest: usize,
}

impl Size {
    fn and(self, more: Self) -> Self {
        Self { rows: self.rows + more.rows, bytes: self.bytes + more.bytes, longest: self.longest.max(more.longest) }
    }

    fn memory(self) -> usize {
        COPIES.saturating_mul(self.bytes).saturating_add(self.rows.saturating_mul(self.longest))
    }
}

/// Counts the rows of one stream.
pub struct Held {
    window: Arc<Window>,
    reservation: MemoryReservation,
    size: Size,
    /// The keys of the partition that the last row is of.
    last: Vec<ScalarValue>,
}

impl Held {
    pub fn new(window: Arc<Window>, reservation: MemoryReservation) -> Self {
        Self { window, reservation, size: Size::default(), last: Vec::new() }
    }

    /// Makes room for a batch.
    ///
    /// # Errors
    /// When there is none.
    pub fn hold(&mut self, batch: &RecordBatch) -> Result<()> {
        if batch.num_rows() == 0 {
            return Ok(());
        }
        let all = self.size.and(self.window.size(batch)?);
        self.reservation.try_resize(all.memory())?;
        // What is of partitions that have ended goes with this batch's results.
        self.size = match self.begin_of_last(batch)? {
            None => all,
            Some(begin) => self.window.size(&batch.slice(begin, batch.num_rows() - begin))?,
        };
        Ok(())
    }

    /// The row with which the last partition begins; None when it has begun before, or nothing is let go.
    fn begin_of_last(&mut self, batch: &RecordBatch) -> Result<Option<usize>> {
        if self.window.keys.is_empty() {
            return Ok(None);
        }
        let rows = batch.num_rows();
        let keys = self.window.keys.iter().map(|key| key.evaluate(batch)?.into_array(rows));
        let keys = keys.collect::<Result<Vec<_>>>()?;
        let of_row =
            |row: usize| keys.iter().map(|key| ScalarValue::try_from_array(key, row)).collect::<Result<Vec<_>>>();
        let begin = partition(&keys)?.ranges().last().map_or(0, |range| range.start);
        let before = std::mem::replace(&mut self.last, of_row(rows - 1)?);
        Ok((begin > 0 || before != self.last).then_some(begin))
    }
}

#[cfg(test)]
mod tests {
    use arrow_array::Int64Array;
    use datafusion::{
        execution::memory_pool::{GreedyMemoryPool, MemoryConsumer, MemoryPool},
        physical_expr::expressions::Column,
    };

    use super::*;

    const ROW_BYTES: usize = COPIES * size_of::<i64>();

    /// For how many rows there is room after each batch of keys, as long as there is any.
    fn rows_after(keys: Vec<Arc<dyn PhysicalExpr>>, most_rows: usize) -> Vec<usize> {
        let pool: Arc<dyn MemoryPool> = Arc::new(GreedyMemoryPool::new(most_rows * ROW_BYTES));
        let window = Arc::new(Window { keys, long: Vec::new() });
        let mut held = Held::new(window, MemoryConsumer::new("test").register(&pool));
        let batches = [&[1, 1, 1][..], &[1, 1], &[], &[1, 2, 2], &[2], &[3, 3, 3, 3], &[3]];
        let held = batches.into_iter().map_while(|keys| {
            let keys: ArrayRef = Arc::new(Int64Array::from(keys.to_vec()));
            held.hold(&RecordBatch::try_from_iter([("key", keys)]).unwrap()).ok()?;
            Some(pool.reserved() / ROW_BYTES)
        });
        held.collect()
    }

    #[test]
    fn partitions_are_let_go_once_the_next_one_has_begun() {
        let key = || vec![Arc::new(Column::new("key", 0)) as _];
        assert_eq!(rows_after(key(), 8), [3, 5, 5, 8, 3, 7, 5]);
        assert_eq!(rows_after(key(), 7), [3, 5, 5]);
        assert_eq!(rows_after(Vec::new(), 100), [3, 5, 5, 8, 9, 13, 14]);
    }
}
