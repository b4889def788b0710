//! Which values of a column are null, and which belong to one row.

use super::{
    chunk::Cut,
    encode::{hybrid, hybrid_bits, varint, width_of},
};

/// The nulls of a column that is no list.
#[derive(Clone, Debug, Default)]
pub struct Validity {
    /// One bit a row, from the lowest: set where there is a value.
    pub bits: Vec<u8>,
    pub rows: usize,
}

/// A chunk's levels.
pub enum Levels<'a> {
    /// The column cannot be null.
    Required { rows: usize },
    /// One level: null or not.
    Optional(&'a Validity),
    /// Every row is null: a list where the column's type has one.
    Absent { rows: usize, most: u8, deepest: u8 },
    /// As Dremel has it; a definition of `most` is a value.
    Nested { definitions: &'a [u8], repetitions: &'a [u8], most: u8, deepest: u8, rows: usize },
}

impl Levels<'_> {
    pub fn rows(&self) -> usize {
        match self {
            Self::Required { rows } | Self::Absent { rows, .. } | Self::Nested { rows, .. } => *rows,
            Self::Optional(validity) => validity.rows,
        }
    }

    /// Rows, nulls and what lists add to them.
    pub fn len(&self) -> usize {
        match self {
            Self::Nested { definitions, .. } => definitions.len(),
            _ => self.rows(),
        }
    }

    /// The rows that are not null, of a column whose rows may be.
    pub fn each_present(&self, mut row: impl FnMut(usize)) {
        match self {
            Self::Required { .. } | Self::Absent { .. } => {}
            Self::Optional(validity) => {
                for (byte, first) in validity.bits.iter().zip((0..validity.rows).step_by(8)) {
                    let mut left = *byte;
                    while left != 0 {
                        let at = first + left.trailing_zeros() as usize;
                        if at < validity.rows {
                            row(at);
                        }
                        left &= left - 1;
                    }
                }
            }
            Self::Nested { definitions, repetitions, .. } => {
                let firsts = definitions.iter().zip(*repetitions).filter(|(_, repetition)| **repetition == 0);
                firsts.zip(0..).filter(|((definition, _), _)| **definition > 0).for_each(|(_, at)| row(at));
            }
        }
    }

    /// The place `rows` rows after `from`.
    pub fn advance(&self, from: &Cut, rows: usize) -> Cut {
        let row = from.row + rows;
        match self {
            Self::Required { .. } => Cut { row, level: row, value: row },
            Self::Absent { .. } => Cut { row, level: row, value: 0 },
            Self::Optional(validity) => {
                Cut { row, level: row, value: from.value + ones(&validity.bits, from.row, row) }
            }
            Self::Nested { definitions, repetitions, most, .. } => {
                let mut seen = 0;
                let starts = |repetition: &u8| {
                    seen += usize::from(*repetition == 0);
                    seen > rows
                };
                let level =
                    repetitions[from.level..].iter().position(starts).map_or(repetitions.len(), |at| from.level + at);
                let values = definitions[from.level..level].iter().filter(|definition| *definition == most).count();
                Cut { row, level, value: from.value + values }
            }
        }
    }

    /// Appends the levels between two places: bytes of repetition levels, bytes of definition levels.
    pub fn encode(&self, from: &Cut, to: &Cut, out: &mut Vec<u8>) -> (usize, usize) {
        match self {
            Self::Required { .. } => (0, 0),
            Self::Optional(validity) => {
                let rows = to.row - from.row;
                if from.row.is_multiple_of(8) {
                    hybrid_bits(&validity.bits[from.row / 8..], rows, out);
                } else {
                    let bit = |row: usize| validity.bits[row / 8] >> (row % 8) & 1;
                    let bits: Vec<u8> = (from.row..to.row).map(bit).collect();
                    hybrid(&bits, 1, out);
                }
                (0, out.len())
            }
            Self::Absent { most, deepest, .. } => {
                let zeros = |most: u8, out: &mut Vec<u8>| {
                    if most > 0 {
                        varint(((to.row - from.row) as u64) << 1, out);
                        out.push(0);
                    }
                };
                zeros(*deepest, out);
                let repetition_bytes = out.len();
                zeros(*most, out);
                (repetition_bytes, out.len() - repetition_bytes)
            }
            Self::Nested { definitions, repetitions, most, deepest, .. } => {
                hybrid(&repetitions[from.level..to.level], width_of((*deepest).into()), out);
                let repetition_bytes = out.len();
                hybrid(&definitions[from.level..to.level], width_of((*most).into()), out);
                (repetition_bytes, out.len() - repetition_bytes)
            }
        }
    }
}

/// How many bits are set from bit `from` to before bit `to`.
fn ones(bits: &[u8], from: usize, to: usize) -> usize {
    let mut count: usize = bits[from / 8..to.div_ceil(8)].iter().map(|byte| byte.count_ones() as usize).sum();
    if !from.is_multiple_of(8) {
        count -= (bits[from / 8] & ((1 << (from % 8)) - 1)).count_ones() as usize;
    }
    if !to.is_multiple_of(8) {
        count -= (bits[to / 8] >> (to % 8)).count_ones() as usize;
    }
    count
}
