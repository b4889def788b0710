//! Which spans of a part a filter keeps, a column at a time. `comparison` is that of a column with a literal.

mod comparison;

use std::ops::Range;

use arrow_buffer::BooleanBuffer;
use clew_storage::block::BlockError;

use comparison::Test;

use super::{
    field::{listed_may_have, needs_trace, sparse, with_text},
    part::Part,
    roots::parentless,
    scope::Scope,
};
use crate::traceql::{
    ast::{Attribute, CompareOp, Expr, ExprKind, Field, Intrinsic, Literal, LogicOp, Scope as Of},
    value::{Value, arithmetic, compare, negate},
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
        Ok(Mask::of(!&parentless(self.part.rows, |column| self.part.column(&self.scope.cache, column))?))
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
        if let (Field::Attribute(Attribute { scope, of_parent: false, key }), CompareOp::Eq, Literal::String(text)) =
            (field, op, literal)
            && !listed_may_have(self.part, &self.scope.cache, *scope, key, text)?
        {
            return Ok(Mask::None);
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
