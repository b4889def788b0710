//! Counts of values of fields, as one thread gathers them.

use arrow_array::Array;
use hashbrown::{HashMap, HashSet};

use super::{
    super::super::{
        coded::{Column, Key, Text},
        field::Source,
    },
    Counts, Values, any,
    rows::Rows,
};
use crate::traceql::{
    ast::{Field, Intrinsic, Scope as Of},
    value::Value,
};

/// Past so many values of a field those are forgotten that were seen least: they are not among the most frequent (Misra and
/// Gries, "Finding repeated elements").
const MAX_VALUES: usize = 1 << 17;

/// The same for the values of a field in a part: parts have traces by chance, so what is frequent in all is so in each.
const MAX_PART_VALUES: usize = 1 << 12;

/// So many values or fewer are looked for one after the other.
const FEW: usize = 8;

/// What one thread counts.
pub struct Tally<'a> {
    /// What is counted; None: all values.
    pub shown: Option<&'a Values>,
    /// Steps of time.
    pub steps: usize,
    /// What was counted.
    pub counts: Counts,
}

impl<'a> Tally<'a> {
    /// Whether a field is counted.
    pub fn wants(&self, field: &Field) -> bool {
        self.shown.is_none_or(|shown| shown.contains_key(field))
    }

    /// The keys of a scope's attributes that are counted; None: all of them.
    pub fn keys(&self, scope: Of) -> Option<HashSet<&'a str>> {
        let key = |field: &'a Field| match field {
            Field::Attribute(attribute) if attribute.scope == scope => Some(&*attribute.key),
            _ => None,
        };
        Some(self.shown?.keys().filter_map(key).collect())
    }

    /// Adds what an attribute is in `all` rows, of which `rows` count.
    pub fn source(&mut self, field: &Field, source: &Source, all: usize, rows: &Rows) {
        // Values of which few are shown are not numbered first.
        match (source, self.shown.and_then(|shown| shown.get(field))) {
            (Source::Views(texts), Some(shown)) => {
                let text = |key: &'a Key| if let Value::String(text) = &key.0 { Some(&**text) } else { None };
                let slots: HashMap<&str, u32> = shown.iter().filter_map(text).zip(1..).collect();
                let slot = |row| texts.is_valid(row).then(|| slots.get(texts.value(row)).copied().unwrap_or(0));
                let counts = rows.count(all, slots.len() + 1, self.places(), slot);
                let text = |(text, slot): (&&str, &u32)| (Value::String((*text).to_owned()), *slot);
                self.slots(field, &counts, slots.iter().map(text));
            }
            (Source::Int(array), Some(shown)) if shown.len() <= FEW => {
                let int = |key: &Key| if let Value::Int(int) = key.0 { Some(int as u64) } else { None };
                let value = |row| array.is_valid(row).then(|| array.value(row) as u64);
                self.few(field, shown, int, all, rows, value);
            }
            (Source::Float(array), Some(shown)) if shown.len() <= FEW => {
                let float = |key: &Key| if let Value::Float(float) = key.0 { Some(float.to_bits()) } else { None };
                let value = |row| array.is_valid(row).then(|| array.value(row).to_bits());
                self.few(field, shown, float, all, rows, value);
            }
            (Source::Bool(array), Some(shown)) if shown.len() <= FEW => {
                let bool = |key: &Key| if let Value::Bool(yes) = key.0 { Some(yes.into()) } else { None };
                let value = |row| array.is_valid(row).then(|| array.value(row).into());
                self.few(field, shown, bool, all, rows, value);
            }
            _ => self.column(field, &Column::of(source, all), rows),
        }
    }

    /// Adds values that are 64 bits, of which few are shown.
    fn few(
        &mut self,
        field: &Field,
        shown: &HashSet<Key>,
        bits: impl Fn(&Key) -> Option<u64>,
        all: usize,
        rows: &Rows,
        value: impl Fn(usize) -> Option<u64>,
    ) {
        let shown: Vec<(u64, &Key)> = shown.iter().filter_map(|key| Some((bits(key)?, key))).collect();
        let slot = |row| {
            let value = value(row)?;
            Some(shown.iter().position(|(bits, _)| *bits == value).map_or(0, |at| at as u32 + 1))
        };
        let counts = rows.count(all, shown.len() + 1, self.places(), slot);
        self.slots(field, &counts, shown.iter().zip(1..).map(|((_, key), slot)| (key.0.clone(), slot)));
    }

    /// Adds values that have slots; in the first slot are others.
    fn slots(&mut self, field: &Field, counts: &[u32], values: impl Iterator<Item = (Value, u32)>) {
        let places = self.places();
        for (value, slot) in values {
            self.add(field, &value, &counts[slot as usize * places..][..places]);
        }
        self.others(field, &counts[..places]);
    }

    fn places(&self) -> usize {
        2 * self.steps
    }

    /// Adds a column.
    pub fn column(&mut self, field: &Field, column: &Column<'_>, rows: &Rows) {
        if !self.wants(field) {
            return;
        }
        let (places, all) = (self.places(), column.codes.len());
        let Some(shown) = self.shown.and_then(|shown| shown.get(field)) else {
            let counts = rows.count(all, column.len(), places, |row| Some(column.codes[row]));
            return self.most(field, column, &counts);
        };
        // Many values at many steps: few of those are shown. The first two are for what does not count, and for what counts and
        // is not shown.
        let mut next = 2;
        let slot = |at| {
            let is_shown = match column.text(at) {
                Some(text) => shown.contains(&Text(text)),
                None => match column.value(at) {
                    Value::Array(_) => true,
                    value if !counts_in(field, &value) => return 0,
                    value => shown.contains(&Key(value)),
                },
            };
            if !is_shown {
                return u32::from(column.text(at).is_none_or(|text| text_counts_in(field, text)));
            }
            next += 1;
            next - 1
        };
        let slots: Vec<u32> = (0..column.len()).map(slot).collect();
        let counts = rows.count(all, next as usize, places, |row| Some(slots[column.codes[row] as usize]));
        for (at, slot) in slots.iter().enumerate().filter(|(_, slot)| **slot > 1) {
            self.add(field, &column.value(at), &counts[*slot as usize * places..][..places]);
        }
        self.others(field, &counts[places..2 * places]);
    }

    /// Adds the values of a column that most of its rows have; of the others, where there are many, only that they are.
    fn most(&mut self, field: &Field, column: &Column<'_>, counts: &[u32]) {
        let places = self.places();
        let of = |at: usize| &counts[at * places..][..places];
        let total = |at: usize| of(at).iter().sum::<u32>();
        let mut present: Vec<usize> = (0..column.len()).filter(|at| total(*at) > 0).collect();
        let mut others = vec![0; places];
        let mut least = 1;
        while present.len() > MAX_PART_VALUES {
            present.retain(|at| {
                let keep = total(*at) > least || !is_single(field, column, *at);
                if !keep {
                    others.iter_mut().zip(of(*at)).for_each(|(count, more)| *count += more);
                }
                keep
            });
            if least > 1 << 24 {
                break;
            }
            least *= 2;
        }
        for at in present {
            self.add(field, &column.value(at), of(at));
        }
        self.others(field, &others);
    }

    /// Adds spans that have a value which is not counted by itself.
    fn others(&mut self, field: &Field, counts: &[u32]) {
        if counts.iter().any(|count| *count > 0) {
            add(self.counts.entry(field.clone()).or_default(), any(), counts);
        }
    }

    /// Adds spans that have a value.
    pub fn add(&mut self, field: &Field, value: &Value, counts: &[u32]) {
        if counts.iter().all(|count| *count == 0) || !self.wants(field) {
            return;
        }
        let shown = self.shown.and_then(|shown| shown.get(field));
        for value in value.elements().iter().filter(|value| counts_in(field, value)) {
            let of_field = self.counts.entry(field.clone()).or_default();
            add(of_field, any(), counts);
            let key = Key(value.clone());
            if shown.is_none_or(|shown| shown.contains(&key)) {
                add(of_field, key, counts);
            }
        }
    }

    /// Forgets rare values where there are too many.
    pub fn forget(&mut self) {
        for values in self.counts.values_mut() {
            let mut least = 1;
            while values.len() > MAX_VALUES {
                values.retain(|_, counts| counts.iter().sum::<u32>() > least);
                least *= 2;
            }
        }
    }
}

/// Whether a value that is no array counts.
fn counts_in(field: &Field, value: &Value) -> bool {
    match value {
        Value::Nil | Value::Opaque => false,
        Value::String(text) => text_counts_in(field, text),
        _ => true,
    }
}

/// Whether a value of a column counts, and is no array.
fn is_single(field: &Field, column: &Column<'_>, at: usize) -> bool {
    match column.text(at) {
        Some(text) => text_counts_in(field, text),
        None => match column.value(at) {
            Value::Array(_) => false,
            value => counts_in(field, &value),
        },
    }
}

/// Whether a text counts: nobody wrote an empty status message.
fn text_counts_in(field: &Field, text: &str) -> bool {
    !text.is_empty() || *field != Field::Intrinsic(Intrinsic::StatusMessage)
}

/// Adds to what was counted of a value.
pub fn add(values: &mut HashMap<Key, Vec<u32>>, key: Key, counts: &[u32]) {
    match values.get_mut(&key) {
        Some(before) => before.iter_mut().zip(counts).for_each(|(count, more)| *count += more),
        None => drop(values.insert(key, counts.to_vec())),
    }
}
