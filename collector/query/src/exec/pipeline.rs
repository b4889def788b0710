//! What a pipeline leaves of one trace.

use hashbrown::HashMap;

use super::{
    coded::Key,
    mask::{Kept, evaluate},
    trace::{Parent, Trace},
};
use crate::traceql::{
    ast::{
        Aggregate, ArithmeticOp, CompareOp, Expr, Field, FieldAt, Keep, Pipeline, Relation, ScalarExpr, ScalarFilter,
        ScalarKind, SpansetExpr, SpansetKind, SpansetOp, Stage,
    },
    value::{Value, arithmetic, compare, negate},
};

/// Some spans of a trace.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Spanset {
    /// Places in the trace, in order.
    pub spans: Vec<u32>,
    /// What stages have computed of it, as it was written: what it was grouped by, `count()` and so on.
    pub attributes: Vec<(String, Value)>,
}

/// The filters of a query: what stands between braces.
pub struct Filters<'q> {
    /// None: all spans.
    pub filters: Vec<Option<&'q Expr>>,
}

impl<'q> Filters<'q> {
    /// Of a pipeline, in the order in which they are written.
    pub fn of(pipeline: &'q Pipeline) -> Self {
        let mut filters = Vec::new();
        of_pipeline(pipeline, &mut filters);
        Self { filters }
    }

    /// The place of a filter.
    fn place(&self, filter: &Expr) -> Option<usize> {
        self.filters.iter().position(|other| other.is_some_and(|other| std::ptr::eq(other, filter)))
    }
}

fn of_pipeline<'q>(pipeline: &'q Pipeline, filters: &mut Vec<Option<&'q Expr>>) {
    // What begins with something else begins with all spans.
    if !matches!(pipeline.stages.first(), Some(Stage::Spansets(_))) {
        filters.push(None);
    }
    for stage in &pipeline.stages {
        if let Stage::Spansets(spansets) = stage {
            of_spansets(spansets, filters);
        }
    }
}

fn of_spansets<'q>(spansets: &'q SpansetExpr, filters: &mut Vec<Option<&'q Expr>>) {
    match &spansets.kind {
        SpansetKind::Filter(filter) => filters.push(filter.as_ref()),
        SpansetKind::Pipeline(pipeline) => of_pipeline(pipeline, filters),
        SpansetKind::Binary { left, right, .. } => {
            of_spansets(left, filters);
            of_spansets(right, filters);
        }
    }
}

/// Whether a trace may be found, given for each filter, in order, whether it keeps spans of it.
pub fn possible(pipeline: &Pipeline, keeps: &mut impl Iterator<Item = bool>) -> bool {
    let mut possible = true;
    if !matches!(pipeline.stages.first(), Some(Stage::Spansets(_))) {
        possible &= keeps.next().unwrap_or(true);
    }
    for stage in &pipeline.stages {
        if let Stage::Spansets(spansets) = stage {
            possible &= possible_spansets(spansets, keeps);
        }
    }
    possible
}

fn possible_spansets(spansets: &SpansetExpr, keeps: &mut impl Iterator<Item = bool>) -> bool {
    match &spansets.kind {
        SpansetKind::Filter(_) => keeps.next().unwrap_or(true),
        SpansetKind::Pipeline(pipeline) => possible(pipeline, keeps),
        SpansetKind::Binary { op, left, right } => {
            let (left, right) = (possible_spansets(left, keeps), possible_spansets(right, keeps));
            match op {
                SpansetOp::Or => left || right,
                SpansetOp::Related(_, Keep::NotRelated) => right,
                SpansetOp::And | SpansetOp::Related(_, Keep::Right | Keep::Both) => left && right,
            }
        }
    }
}

/// Runs a pipeline on traces.
pub struct Runner<'q> {
    pub pipeline: &'q Pipeline,
    pub filters: Filters<'q>,
    /// For each part, what each filter keeps of it; empty when that was not looked at.
    pub kept: Vec<Vec<Kept>>,
}

impl Runner<'_> {
    /// The spansets that are left, none of them empty; once the budget is spent, some of them. Blocking.
    pub fn run(&self, trace: &Trace<'_>) -> Vec<Spanset> {
        let all = Spanset { spans: (0..trace.spans.len() as u32).collect(), attributes: Vec::new() };
        self.pipeline(self.pipeline, trace, vec![all])
    }

    fn pipeline(&self, pipeline: &Pipeline, trace: &Trace<'_>, mut sets: Vec<Spanset>) -> Vec<Spanset> {
        for stage in &pipeline.stages {
            let each = sets.into_iter().take_while(|_| trace.goes_on());
            sets = match stage {
                Stage::Spansets(spansets) => {
                    let keep = |set: Spanset| Spanset { spans: self.spansets(spansets, trace, &set.spans), ..set };
                    each.map(keep).collect()
                }
                Stage::Scalar(filter) => {
                    each.filter_map(|mut set| self.holds(filter, trace, &mut set).then_some(set)).collect()
                }
                Stage::By(expr) => each.flat_map(|set| group(expr, trace, set)).collect(),
                Stage::Coalesce => vec![union(each)],
                Stage::Select(_) => each.collect(),
            };
            sets.retain(|set| !set.spans.is_empty());
        }
        sets
    }

    /// As one set.
    fn left_of(&self, pipeline: &Pipeline, trace: &Trace<'_>, input: &[u32]) -> Spanset {
        let all = Spanset { spans: input.to_vec(), attributes: Vec::new() };
        union(self.pipeline(pipeline, trace, vec![all]).into_iter())
    }

    fn spansets(&self, spansets: &SpansetExpr, trace: &Trace<'_>, input: &[u32]) -> Vec<u32> {
        match &spansets.kind {
            SpansetKind::Filter(None) => input.to_vec(),
            SpansetKind::Filter(Some(filter)) => {
                let place = self.filters.place(filter);
                let each = input.iter().copied().take_while(|_| trace.goes_on());
                each.filter(|at| self.keeps(filter, place, trace, *at)).collect()
            }
            SpansetKind::Pipeline(pipeline) => self.left_of(pipeline, trace, input).spans,
            SpansetKind::Binary { op, left, right } => {
                let (left, right) = (self.spansets(left, trace, input), self.spansets(right, trace, input));
                match op {
                    SpansetOp::And if left.is_empty() || right.is_empty() => Vec::new(),
                    SpansetOp::And | SpansetOp::Or => merged(left, right),
                    SpansetOp::Related(relation, keep) => related(trace, *relation, *keep, &left, &right),
                }
            }
        }
    }

    fn keeps(&self, filter: &Expr, place: Option<usize>, trace: &Trace<'_>, at: u32) -> bool {
        let span = &trace.spans[at as usize];
        let known = place.and_then(|place| self.kept[span.part as usize].get(place));
        match known.map(|kept| (kept.exact, kept.mask.keeps(span.row as usize))) {
            Some((true, keeps)) => keeps,
            Some((false, false)) => false,
            Some((false, true)) | None => evaluate(filter, &|field| trace.value(field, at)).is_true(),
        }
    }
}

impl Runner<'_> {
    fn holds(&self, filter: &ScalarFilter, trace: &Trace<'_>, set: &mut Spanset) -> bool {
        let (left, right) = (self.scalar(&filter.left, trace, set), self.scalar(&filter.right, trace, set));
        compare(filter.op, &left, &right)
    }

    fn scalar(&self, expr: &ScalarExpr, trace: &Trace<'_>, set: &mut Spanset) -> Value {
        match &expr.kind {
            ScalarKind::Literal(literal) => Value::from(literal),
            ScalarKind::Negate(inner) => negate(&self.scalar(inner, trace, set)),
            ScalarKind::Binary { op, left, right } => {
                let (left, right) = (self.scalar(left, trace, set), self.scalar(right, trace, set));
                arithmetic(*op, &left, &right)
            }
            ScalarKind::Pipeline { pipeline, of } => {
                let mut left = self.left_of(pipeline, trace, &set.spans);
                let value = self.scalar(of, trace, &mut left);
                set.attributes.push((expr.to_string(), value.clone()));
                value
            }
            ScalarKind::Aggregate { op, of } => {
                let value = match of {
                    None => Value::Int(set.spans.len() as i64),
                    Some(of) => {
                        let each = set.spans.iter().take_while(|_| trace.goes_on());
                        aggregate(*op, each.map(|at| evaluate(of, &|field| trace.value(field, *at))))
                    }
                };
                set.attributes.push((expr.to_string(), value.clone()));
                value
            }
        }
    }
}

fn merged(left: Vec<u32>, right: Vec<u32>) -> Vec<u32> {
    let mut all = left;
    all.extend(right);
    all.sort_unstable();
    all.dedup();
    all
}

fn union(sets: impl Iterator<Item = Spanset>) -> Spanset {
    Spanset { spans: merged(sets.flat_map(|set| set.spans).collect(), Vec::new()), attributes: Vec::new() }
}

/// A spanset for each value, in the order in which the values occur.
fn group(expr: &Expr, trace: &Trace<'_>, set: Spanset) -> Vec<Spanset> {
    let name = format!("by({expr})");
    let mut places: HashMap<Key, usize> = HashMap::new();
    let mut groups: Vec<Spanset> = Vec::new();
    for at in set.spans.into_iter().take_while(|_| trace.goes_on()) {
        let place = *places.entry(Key(evaluate(expr, &|field| trace.value(field, at)))).or_insert_with_key(|value| {
            let mut attributes = set.attributes.clone();
            attributes.push((name.clone(), value.0.clone()));
            groups.push(Spanset { spans: Vec::new(), attributes });
            groups.len() - 1
        });
        groups[place].spans.push(at);
    }
    groups
}

/// A set of spans of a trace.
struct Set(Vec<bool>);

impl Set {
    fn of(trace: &Trace<'_>, spans: &[u32]) -> Self {
        let mut set = vec![false; trace.spans.len()];
        spans.iter().for_each(|at| set[*at as usize] = true);
        Self(set)
    }

    fn has(&self, at: u32) -> bool {
        self.0[at as usize]
    }
}

fn related(trace: &Trace<'_>, relation: Relation, keep: Keep, left: &[u32], right: &[u32]) -> Vec<u32> {
    let kept = |related: Set| right.iter().copied().filter(|at| related.has(*at)).collect::<Vec<_>>();
    match keep {
        Keep::Right => kept(standing(trace, relation, left)),
        Keep::NotRelated => {
            let related = standing(trace, relation, left);
            right.iter().copied().filter(|at| !related.has(*at)).collect()
        }
        Keep::Both => {
            let rights = kept(standing(trace, relation, left));
            let back = standing(trace, inverse(relation), right);
            merged(left.iter().copied().filter(|at| back.has(*at)).collect(), rights)
        }
    }
}

fn inverse(relation: Relation) -> Relation {
    match relation {
        Relation::Child => Relation::Parent,
        Relation::Parent => Relation::Child,
        Relation::Descendant => Relation::Ancestor,
        Relation::Ancestor => Relation::Descendant,
        Relation::Sibling => Relation::Sibling,
    }
}

/// The spans of the trace that stand in a relation to one of `left`.
fn standing(trace: &Trace<'_>, relation: Relation, left: &[u32]) -> Set {
    let spans = &trace.spans;
    let parent = |at: u32| match spans[at as usize].parent {
        Parent::At(parent) => Some(parent),
        Parent::Root | Parent::Missing(_) => None,
    };
    let mut found = Set(vec![false; spans.len()]);
    match relation {
        Relation::Child => {
            let left = Set::of(trace, left);
            for at in 0..spans.len() as u32 {
                found.0[at as usize] = parent(at).is_some_and(|parent| left.has(parent));
            }
        }
        Relation::Parent => left.iter().filter_map(|at| parent(*at)).for_each(|at| found.0[at as usize] = true),
        Relation::Ancestor => {
            for at in left {
                let mut next = parent(*at);
                // What is marked already has all above it marked.
                while let Some(above) = next.filter(|above| !found.has(*above)) {
                    found.0[above as usize] = true;
                    next = parent(above);
                }
            }
        }
        Relation::Descendant => {
            let left = Set::of(trace, left);
            let mut known: Vec<Option<bool>> = vec![None; spans.len()];
            let mut path = Vec::new();
            for at in 0..spans.len() as u32 {
                let mut next = at;
                let below = loop {
                    if let Some(below) = known[next as usize] {
                        break below;
                    }
                    // Until it is known, no: a cycle ends here.
                    known[next as usize] = Some(false);
                    path.push(next);
                    match parent(next) {
                        Some(above) if left.has(above) => break true,
                        Some(above) => next = above,
                        None => break false,
                    }
                };
                for passed in path.drain(..) {
                    known[passed as usize] = Some(below);
                    found.0[passed as usize] = below;
                }
            }
        }
        Relation::Sibling => {
            // How many of the left are below each parent; one is no sibling of itself.
            let mut below = vec![0u32; spans.len()];
            left.iter().filter_map(|at| parent(*at)).for_each(|at| below[at as usize] += 1);
            let left = Set::of(trace, left);
            for at in 0..spans.len() as u32 {
                let others = parent(at).map_or(0, |parent| below[parent as usize])
                    - u32::from(left.has(at) && parent(at).is_some());
                found.0[at as usize] = others > 0;
            }
        }
    }
    found
}

/// Of all values, each element of an array being one; nil when none of them is a number.
fn aggregate(op: Aggregate, values: impl Iterator<Item = Value>) -> Value {
    let (mut values_seen, mut numbers, mut durations, mut sum) = (0i64, 0u64, 0u64, 0.0);
    let mut total = Value::Nil;
    for value in values {
        for value in value.elements() {
            values_seen += 1;
            let Some(number) = value.as_number() else { continue };
            numbers += 1;
            durations += u64::from(matches!(value, Value::Duration(_)));
            sum += number;
            let wins = |than| numbers == 1 || compare(than, value, &total);
            total = match op {
                Aggregate::Min if !wins(CompareOp::Less) => total,
                Aggregate::Max if !wins(CompareOp::Greater) => total,
                Aggregate::Sum if numbers > 1 => arithmetic(ArithmeticOp::Add, &total, value),
                _ => value.clone(),
            };
        }
    }
    match op {
        Aggregate::Count => Value::Int(values_seen),
        Aggregate::Avg if numbers == 0 => Value::Nil,
        // A duration has whole nanoseconds: the rest is cut off.
        Aggregate::Avg if durations == numbers => Value::Duration((sum / numbers as f64) as i64),
        Aggregate::Avg => Value::Float(sum / numbers as f64),
        Aggregate::Min | Aggregate::Max | Aggregate::Sum => total,
    }
}

/// What is selected for the answer, in the order in which it is written.
pub fn selected(pipeline: &Pipeline) -> Vec<&Field> {
    let fields = pipeline.stages.iter().filter_map(|stage| match stage {
        Stage::Select(fields) => Some(fields),
        _ => None,
    });
    fields.flatten().map(|FieldAt { field, .. }| field).collect()
}
