//! Comparisons of whole columns with a literal.

use std::cmp::Ordering;

use arrow_array::{Array, StringArray, StringViewArray, cast::AsArray};
use arrow_buffer::BooleanBuffer;

use super::{
    super::field::{Source, sparse, status},
    Mask,
};
use crate::traceql::{
    ast::{CompareOp, Kind, Literal, Status},
    value::{Pattern, Value, asks_for_whole, compare},
};

/// A comparison with a literal.
pub struct Test<'q> {
    op: CompareOp,
    value: Value,
    pattern: Option<&'q Pattern>,
}

impl<'q> Test<'q> {
    /// Of what stands on its left.
    pub fn new(op: CompareOp, literal: &'q Literal) -> Self {
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

    /// The rows of a source for which it holds.
    pub fn mask(&self, source: &Source) -> Mask {
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
                let said = codes.as_ref().map(|codes| (codes, codes.nulls()));
                match said {
                    None if !holds[Status::Unset as usize] => Mask::None,
                    // Few spans say any.
                    Some((codes, Some(said))) if !holds[Status::Unset as usize] => {
                        let hit = |row: &usize| holds[Status::from_otlp(codes.value(*row)) as usize];
                        let hits = said.inner().set_indices().filter(hit).map(|row| row as u32);
                        Mask::of(sparse(*rows, hits))
                    }
                    _ => {
                        Mask::of(BooleanBuffer::collect_bool(*rows, |row| holds[status(codes.as_ref(), row) as usize]))
                    }
                }
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
