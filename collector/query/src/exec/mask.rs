//! Which spans of a part a filter keeps, a column at a time.

use std::{cmp::Ordering, ops::Range};

use arrow_array::{Array, StringArray, StringViewArray, cast::AsArray};
use arrow_buffer::BooleanBuffer;
use clew_storage::block::BlockError;

use super::{
    field::{Source, needs_trace, sparse, status, with_text},
    part::Part,
    roots::parentless,
    scope::Scope,
};
use crate::traceql::{
    ast::{Attribute, CompareOp, Expr, ExprKind, Field, Intrinsic, Kind, Literal, LogicOp, Scope as Of, Status},
    value::{Pattern, Value, arithmetic, asks_for_whole, compare, negate},
};

/// Rows of a part.
#[derive(Clone, Debug)]
pub enum Mask {
    None,
    All,
    Some(BooleanBuffer),
}

/// What a filter keeps, as far as the part knows: fields that need the whole trace may keep fewer.
#[derive(Clone, Debug)]
pub struct Kept {
    pub mask: Mask,
    /// Whether it is just those.
    pub exact: bool,
}

impl Mask {
    /// The rows whose bits are set.
    pub fn of(bits: BooleanBuffer) -> Self {
        match bits.count_set_bits() {
            0 => Self::None,
            set if set == bits.len() => Self::All,
            _ => Self::Some(bits),
        }
    }

    /// The rows of both.
    pub fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::None, _) | (_, Self::None) => Self::None,
            (Self::All, mask) | (mask, Self::All) => mask,
            (Self::Some(left), Self::Some(right)) => Self::of(&left & &right),
        }
    }

    fn or(self, other: Self) -> Self {
        match (self, other) {
            (Self::All, _) | (_, Self::All) => Self::All,
            (Self::None, mask) | (mask, Self::None) => mask,
            (Self::Some(left), Self::Some(right)) => Self::of(&left | &right),
        }
    }

    fn not(self) -> Self {
        match self {
            Self::All => Self::None,
            Self::None => Self::All,
            Self::Some(bits) => Self::Some(!&bits),
        }
    }

    /// Whether a row is kept.
    pub fn keeps(&self, row: usize) -> bool {
        match self {
            Self::None => false,
            Self::All => true,
            Self::Some(bits) => bits.value(row),
        }
    }

    /// The rows, of so many.
    pub fn rows(&self, rows: usize) -> Box<dyn Iterator<Item = usize> + '_> {
        match self {
            Self::None => Box::new(std::iter::empty()),
            Self::All => Box::new(0..rows),
            Self::Some(bits) => Box::new(bits.set_indices()),
        }
    }

    /// Those of some rows, counted from the first of these.
    pub fn slice(&self, rows: Range<usize>) -> Self {
        match self {
            Self::Some(bits) => Self::of(bits.slice(rows.start, rows.len())),
            same => same.clone(),
        }
    }

    /// The rows that are not in the other one.
    pub fn except(&self, other: &Self) -> Self {
        self.clone().and(other.clone().not())
    }

    /// How many there are, of so many.
    pub fn count(&self, rows: usize) -> usize {
        match self {
            Self::None => 0,
            Self::All => rows,
            Self::Some(bits) => bits.count_set_bits(),
        }
    }

    /// The same without some rows, of so many.
    pub fn without(self, rows: Vec<u32>, all: usize) -> Self {
        self.and(Self::of(!&sparse(all, rows.into_iter())))
    }
}

/// Reads masks of one part.
pub struct Masks<'a> {
    scope: &'a Scope,
    place: u32,
    part: &'a Part,
}

impl<'a> Masks<'a> {
    /// Of the part at a place.
    pub fn of(scope: &'a Scope, place: usize) -> Self {
        Self { scope, place: place as u32, part: &scope.parts[place].part }
    }

    /// The spans for which the expression is true; once the budget is spent, some of them. Blocking.
    pub fn kept(&self, expr: &Expr) -> Result<Kept, BlockError> {
        self.within(expr, &Mask::All)
    }

    /// The same; rows outside of `within` do not matter.
    fn within(&self, expr: &Expr, within: &Mask) -> Result<Kept, BlockError> {
        let exact = |mask| Ok(Kept { mask, exact: true });
        match &expr.kind {
            ExprKind::Compare { op, left, right } if needs(expr) => match (&left.kind, &right.kind) {
                (ExprKind::Field(Field::Intrinsic(intrinsic)), ExprKind::Literal(literal)) => {
                    self.of_trace(*intrinsic, *op, literal)
                }
                _ => Ok(Kept { mask: Mask::All, exact: false }),
            },
            _ if needs(expr) && !matches!(expr.kind, ExprKind::Logic { .. }) => {
                Ok(Kept { mask: Mask::All, exact: false })
            }
            ExprKind::Literal(literal) => exact(if *literal == Literal::Bool(true) { Mask::All } else { Mask::None }),
            ExprKind::Logic { op: LogicOp::And, operands } => {
                let mut kept = Kept { mask: within.clone(), exact: true };
                // Columns first; row by row only what those leave.
                let mut operands: Vec<_> = operands.iter().collect();
                operands.sort_by_key(|operand| cost(operand));
                for operand in operands {
                    if matches!(kept.mask, Mask::None) {
                        break;
                    }
                    let next = self.within(operand, &kept.mask)?;
                    kept = Kept { mask: kept.mask.and(next.mask), exact: kept.exact && next.exact };
                }
                Ok(kept)
            }
            ExprKind::Logic { op: LogicOp::Or, operands } => {
                let mut kept = Kept { mask: Mask::None, exact: true };
                for operand in operands {
                    let next = self.within(operand, within)?;
                    kept = Kept { mask: kept.mask.or(next.mask), exact: kept.exact && next.exact };
                }
                Ok(kept)
            }
            ExprKind::Not(inner) if is_condition(inner) => {
                let kept = self.within(inner, within)?;
                exact(kept.mask.not())
            }
            ExprKind::Field(field) => exact(self.compare(field, CompareOp::Eq, &Literal::Bool(true))?),
            ExprKind::Compare { op, left, right } => match (&left.kind, &right.kind) {
                (ExprKind::Field(field), ExprKind::Literal(literal)) => exact(self.compare(field, *op, literal)?),
                (ExprKind::Literal(literal), ExprKind::Field(field))
                    if !matches!(op, CompareOp::Match | CompareOp::NotMatch) =>
                {
                    exact(self.compare(field, op.mirrored(), literal)?)
                }
                _ => exact(self.each(expr, within)?),
            },
            _ => exact(self.each(expr, within)?),
        }
    }

    /// What can be said of a field of the whole trace.
    fn of_trace(&self, intrinsic: Intrinsic, op: CompareOp, literal: &Literal) -> Result<Kept, BlockError> {
        let holds = |number: i64| compare(op, &Value::Int(number), &Value::from(literal));
        match intrinsic {
            // Asked so, it is the usual way to ask for roots.
            Intrinsic::NestedSetParent if holds(-1) && !holds(0) && !holds(1) && !holds(i64::MAX) => {
                Ok(Kept { mask: self.parents()?.not(), exact: true })
            }
            // The parent may be missing.
            Intrinsic::Parent if *literal == Literal::Nil && op == CompareOp::NotEq => {
                Ok(Kept { mask: self.parents()?, exact: false })
            }
            _ => Ok(Kept { mask: Mask::All, exact: false }),
        }
    }

    /// The rows that say that they have a parent.
    fn parents(&self) -> Result<Mask, BlockError> {
        Ok(Mask::of(!&parentless(self.part, &self.scope.cache)?))
    }

    /// Row by row.
    fn each(&self, expr: &Expr, within: &Mask) -> Result<Mask, BlockError> {
        let pace = self.scope.pace();
        let rows = within.rows(self.part.rows).take_while(|_| pace.goes_on());
        let kept =
            rows.filter(|row| evaluate(expr, &|field| self.scope.value(field, self.place, *row as u32)).is_true());
        Ok(Mask::of(sparse(self.part.rows, kept.map(|row| row as u32))))
    }

    fn compare(&self, field: &Field, op: CompareOp, literal: &Literal) -> Result<Mask, BlockError> {
        let full = full_id(field, literal);
        let literal = full.as_ref().unwrap_or(literal);
        let test = Test::new(op, literal);
        if let (Field::Attribute(Attribute { scope: Of::Span, of_parent: false, key }), CompareOp::Eq, Literal::String(text)) =
            (field, op, literal)
            && let Some((found, listed)) = with_text(self.part, &self.scope.cache, key, text)?
            // A row that has it in its list may have another value before.
            && listed.is_none_or(|listed| matches!(test.mask(&listed), Mask::None))
        {
            return Ok(test.mask(&found));
        }
        let sources = self.scope.sources(field, self.place);
        // Rows that an earlier source has a value for are its business.
        let mut open = Mask::All;
        let mut kept = Mask::None;
        let last = sources.len().saturating_sub(1);
        for (at, source) in sources.iter().enumerate() {
            if !matches!(literal, Literal::Nil) {
                kept = kept.or(test.mask(source).and(open.clone()));
            }
            if at < last || matches!(literal, Literal::Nil) {
                open = open.and(Mask::of(source.present()).not());
            }
            if matches!(open, Mask::None) {
                break;
            }
        }
        Ok(match (literal, op) {
            (Literal::Nil, CompareOp::Eq) => open,
            (Literal::Nil, CompareOp::NotEq) => open.not(),
            (Literal::Nil, _) => Mask::None,
            _ => kept,
        })
    }
}

/// Whether an expression names a field that needs the whole trace.
pub fn needs(expr: &Expr) -> bool {
    let mut found = false;
    each_field(expr, &mut |field| found |= needs_trace(field));
    found
}

/// Visits the fields of an expression.
pub fn each_field<'e>(expr: &'e Expr, visit: &mut impl FnMut(&'e Field)) {
    match &expr.kind {
        ExprKind::Literal(_) => {}
        ExprKind::Field(field) => visit(field),
        ExprKind::Not(inner) | ExprKind::Negate(inner) => each_field(inner, visit),
        ExprKind::Logic { operands, .. } => operands.iter().for_each(|operand| each_field(operand, visit)),
        ExprKind::Compare { left, right, .. } | ExprKind::Arithmetic { left, right, .. } => {
            each_field(left, visit);
            each_field(right, visit);
        }
    }
}

/// Whether it is true or false in each row, never nil.
fn is_condition(expr: &Expr) -> bool {
    match &expr.kind {
        ExprKind::Compare { .. } | ExprKind::Literal(Literal::Bool(_)) => true,
        ExprKind::Logic { operands, .. } => operands.iter().all(is_condition),
        ExprKind::Not(inner) => is_condition(inner),
        _ => false,
    }
}

/// What comes first when all have to hold.
fn cost(expr: &Expr) -> u8 {
    match &expr.kind {
        ExprKind::Literal(_) => 0,
        ExprKind::Compare { left, right, .. } => match (&left.kind, &right.kind) {
            (ExprKind::Field(field), ExprKind::Literal(literal))
            | (ExprKind::Literal(literal), ExprKind::Field(field)) => match (field, literal) {
                (Field::Intrinsic(_), _) => 1,
                (Field::Attribute(_), Literal::String(_) | Literal::Pattern(_)) => 2,
                (Field::Attribute(_), _) => 3,
            },
            _ => 5,
        },
        ExprKind::Logic { .. } => 4,
        _ => 5,
    }
}

/// What an expression is worth, given what its fields are.
pub fn evaluate(expr: &Expr, field: &dyn Fn(&Field) -> Value) -> Value {
    match &expr.kind {
        ExprKind::Literal(literal) => Value::from(literal),
        ExprKind::Field(name) => field(name),
        ExprKind::Not(inner) => match evaluate(inner, field) {
            Value::Bool(yes) => Value::Bool(!yes),
            _ => Value::Nil,
        },
        ExprKind::Negate(inner) => negate(&evaluate(inner, field)),
        ExprKind::Logic { op: LogicOp::And, operands } => {
            Value::Bool(operands.iter().all(|operand| evaluate(operand, field).is_true()))
        }
        ExprKind::Logic { op: LogicOp::Or, operands } => {
            Value::Bool(operands.iter().any(|operand| evaluate(operand, field).is_true()))
        }
        ExprKind::Compare { op, left, right } => Value::Bool(holds(*op, left, right, field)),
        ExprKind::Arithmetic { op, left, right } => arithmetic(*op, &evaluate(left, field), &evaluate(right, field)),
    }
}

fn holds(op: CompareOp, left: &Expr, right: &Expr, field: &dyn Fn(&Field) -> Value) -> bool {
    match (&left.kind, &right.kind) {
        (_, ExprKind::Literal(Literal::Nil)) => nil(op, &evaluate(left, field)),
        (ExprKind::Literal(Literal::Nil), _) => nil(op, &evaluate(right, field)),
        (_, ExprKind::Literal(Literal::Pattern(pattern))) => {
            let value = evaluate(left, field);
            if op == CompareOp::Match { pattern.is_match(&value) } else { pattern.is_mismatch(&value) }
        }
        (ExprKind::Field(name), ExprKind::Literal(literal)) => {
            let full = full_id(name, literal);
            compare(op, &field(name), &Value::from(full.as_ref().unwrap_or(literal)))
        }
        (ExprKind::Literal(literal), ExprKind::Field(name)) => {
            let full = full_id(name, literal);
            compare(op, &Value::from(full.as_ref().unwrap_or(literal)), &field(name))
        }
        _ => compare(op, &evaluate(left, field), &evaluate(right, field)),
    }
}

/// An id as it was written, in full; None when the field is no id.
fn full_id(field: &Field, literal: &Literal) -> Option<Literal> {
    match (field, literal) {
        (Field::Intrinsic(intrinsic), Literal::String(id)) => Some(Literal::String(intrinsic.full_id(id))),
        _ => None,
    }
}

fn nil(op: CompareOp, value: &Value) -> bool {
    match op {
        CompareOp::Eq => value.is_nil(),
        CompareOp::NotEq => !value.is_nil(),
        _ => false,
    }
}

/// A comparison with a literal.
struct Test<'q> {
    op: CompareOp,
    value: Value,
    pattern: Option<&'q Pattern>,
}

impl<'q> Test<'q> {
    fn new(op: CompareOp, literal: &'q Literal) -> Self {
        let pattern = match literal {
            Literal::Pattern(pattern) => Some(pattern),
            _ => None,
        };
        Self { op, value: Value::from(literal), pattern }
    }

    fn holds(&self, value: &Value) -> bool {
        match (self.op, self.pattern) {
            (CompareOp::Match, Some(pattern)) => pattern.is_match(value),
            (CompareOp::NotMatch, Some(pattern)) => pattern.is_mismatch(value),
            _ => compare(self.op, value, &self.value),
        }
    }

    fn text(&self, text: &str) -> bool {
        match (self.op, self.pattern, &self.value) {
            (CompareOp::Match, Some(pattern), _) => pattern.matches(text),
            (CompareOp::NotMatch, Some(pattern), _) => !pattern.matches(text),
            (op, None, Value::String(other)) => ordered(op, Some(text.cmp(other))),
            _ => false,
        }
    }

    fn mask(&self, source: &Source) -> Mask {
        match source {
            Source::Strings(array) => {
                let values = array.values().as_string::<i32>();
                self.keys(array.keys().values(), values).and(Mask::of(source.present()))
            }
            Source::Views(array) => {
                if !matches!(self.value, Value::String(_)) {
                    return Mask::None;
                }
                if let (CompareOp::Eq, Value::String(text)) = (self.op, &self.value) {
                    // Views begin with their text's length and first four bytes: most differ there.
                    let head = |view: u128| view as u64;
                    let other = StringViewArray::from(vec![text.as_str()]);
                    let (views, other) = (array.views(), head(other.views()[0]));
                    let hit = |row: usize| head(views[row]) == other && array.is_valid(row) && array.value(row) == text;
                    return Mask::of(BooleanBuffer::collect_bool(array.len(), hit));
                }
                let hit = |row: usize| array.is_valid(row) && self.text(array.value(row));
                Mask::of(BooleanBuffer::collect_bool(array.len(), hit))
            }
            Source::Int(array) | Source::Duration(array) => {
                self.numbers(array.values(), |value| value as f64).and(Mask::of(source.present()))
            }
            Source::Float(_) if asks_for_whole(self.op, &self.value) => Mask::None,
            Source::Float(array) => match self.value.as_number() {
                Some(other) => {
                    let values = array.values();
                    Mask::of(self.order(values.len(), |row| values[row].partial_cmp(&other)))
                        .and(Mask::of(source.present()))
                }
                None => Mask::None,
            },
            Source::Bool(array) => match (self.op, &self.value) {
                (CompareOp::Eq, Value::Bool(yes)) | (CompareOp::NotEq, Value::Bool(yes)) => {
                    let yes = *yes == (self.op == CompareOp::Eq);
                    let values = if yes { array.values().clone() } else { !array.values() };
                    Mask::of(values).and(Mask::of(source.present()))
                }
                _ => Mask::None,
            },
            Source::Status(codes, rows) => {
                let holds = [Status::Unset, Status::Ok, Status::Error].map(|one| self.holds(&Value::Status(one)));
                Mask::of(BooleanBuffer::collect_bool(*rows, |row| holds[status(codes.as_ref(), row) as usize]))
            }
            Source::Kind(array) => {
                let holds: Vec<bool> = (0..6).map(|kind| self.holds(&Value::Kind(Kind::from_otlp(kind)))).collect();
                let values = array.values();
                Mask::of(BooleanBuffer::collect_bool(values.len(), |row| holds[Kind::from_otlp(values[row]) as usize]))
            }
            Source::Codes(codes, values) => {
                let holds: Vec<bool> = values.iter().map(|value| self.holds(value)).collect();
                if !holds.contains(&true) {
                    return Mask::None;
                }
                let codes = &codes.codes;
                Mask::of(BooleanBuffer::collect_bool(codes.len(), |row| holds[codes[row] as usize]))
            }
            Source::Sparse(found, rows) => {
                let kept = found.iter().filter(|(_, value)| self.holds(value)).map(|(row, _)| *row);
                Mask::of(sparse(*rows, kept))
            }
            // Ids are many: their text is made row by row.
            Source::Hex(array) => {
                let Value::String(other) = &self.value else { return Mask::None };
                if self.op == CompareOp::Eq {
                    let Ok(id) = hex::decode(other) else { return Mask::None };
                    let same = |row: usize| array.is_valid(row) && array.value(row) == id;
                    return Mask::of(BooleanBuffer::collect_bool(array.len(), same));
                }
                Mask::of(BooleanBuffer::collect_bool(array.len(), |row| self.holds(&source.value(row))))
            }
        }
    }

    /// Of a dictionary: asks each of its values once.
    fn keys(&self, keys: &[u32], values: &StringArray) -> Mask {
        if !matches!(self.value, Value::String(_)) {
            return Mask::None;
        }
        let mut holds: Vec<bool> =
            (0..values.len()).map(|at| values.is_valid(at) && self.text(values.value(at))).collect();
        let mut hits = holds.iter().enumerate().filter(|(_, hit)| **hit);
        match (hits.next(), hits.next()) {
            (None, _) => Mask::None,
            (Some((only, _)), None) => {
                let only = only as u32;
                Mask::of(BooleanBuffer::collect_bool(keys.len(), |row| keys[row] == only))
            }
            _ => {
                // Keys of nulls are anything.
                holds.push(false);
                let nothing = holds.len() - 1;
                Mask::of(BooleanBuffer::collect_bool(keys.len(), |row| holds[(keys[row] as usize).min(nothing)]))
            }
        }
    }

    fn numbers(&self, values: &[i64], float: impl Fn(i64) -> f64) -> Mask {
        Mask::of(match &self.value {
            Value::Int(other) | Value::Duration(other) => self.order(values.len(), |row| Some(values[row].cmp(other))),
            Value::Float(other) => self.order(values.len(), |row| float(values[row]).partial_cmp(other)),
            _ => return Mask::None,
        })
    }

    /// Chooses the operator once, not in each row.
    fn order(&self, rows: usize, order: impl Fn(usize) -> Option<Ordering>) -> BooleanBuffer {
        macro_rules! collect {
            ($op:expr) => {
                BooleanBuffer::collect_bool(rows, |row| ordered($op, order(row)))
            };
        }
        match self.op {
            CompareOp::Eq => collect!(CompareOp::Eq),
            CompareOp::NotEq => collect!(CompareOp::NotEq),
            CompareOp::Less => collect!(CompareOp::Less),
            CompareOp::LessEq => collect!(CompareOp::LessEq),
            CompareOp::Greater => collect!(CompareOp::Greater),
            CompareOp::GreaterEq => collect!(CompareOp::GreaterEq),
            CompareOp::Match | CompareOp::NotMatch => BooleanBuffer::new_unset(rows),
        }
    }
}

/// Whether an order is as the operator says. Without one something is NaN, which differs from everything.
#[inline]
fn ordered(op: CompareOp, order: Option<Ordering>) -> bool {
    match op {
        CompareOp::Eq => order == Some(Ordering::Equal),
        CompareOp::NotEq => order != Some(Ordering::Equal),
        CompareOp::Less => order == Some(Ordering::Less),
        CompareOp::LessEq => matches!(order, Some(Ordering::Less | Ordering::Equal)),
        CompareOp::Greater => order == Some(Ordering::Greater),
        CompareOp::GreaterEq => matches!(order, Some(Ordering::Greater | Ordering::Equal)),
        CompareOp::Match | CompareOp::NotMatch => false,
    }
}
