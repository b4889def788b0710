//! Lists as levels and leaves, after Dremel.
//!
//! <https://github.com/apache/parquet-format/blob/master/LogicalTypes.md#lists>

use super::levels::Levels;

/// The places of a list's elements, down from the rows.
pub struct Slots<I> {
    definitions: Vec<u8>,
    repetitions: Vec<u8>,
    /// The elements that are there: those with a definition of `most`.
    items: Vec<I>,
    most: u8,
    deepest: u8,
    rows: usize,
}

impl<I> Slots<I> {
    /// One slot a row.
    pub fn rows(items: impl ExactSizeIterator<Item = I>) -> Self {
        let rows = items.len();
        let levels = vec![0; rows];
        Self { definitions: levels.clone(), repetitions: levels, items: items.collect(), most: 0, deepest: 0, rows }
    }

    pub fn items(&self) -> &[I] {
        &self.items
    }

    /// The elements of a list in each item; None: a null instead of a list.
    pub fn list<'a, J, L: IntoIterator<Item = J>>(&'a self, list: impl Fn(&'a I) -> Option<L>) -> Slots<J> {
        let mut items = self.items.iter();
        let mut slots = Slots {
            definitions: Vec::with_capacity(self.definitions.len()),
            repetitions: Vec::with_capacity(self.definitions.len()),
            items: Vec::new(),
            most: self.most + 2,
            deepest: self.deepest + 1,
            rows: self.rows,
        };
        for (definition, repetition) in self.definitions.iter().zip(&self.repetitions) {
            let mut repetition = *repetition;
            let mut definition = *definition;
            if definition == self.most
                && let Some(list) = items.next().and_then(&list)
            {
                definition += 1;
                let before = slots.items.len();
                for item in list {
                    slots.items.push(item);
                    slots.definitions.push(slots.most);
                    slots.repetitions.push(repetition);
                    repetition = slots.deepest;
                }
                if slots.items.len() > before {
                    continue;
                }
            }
            slots.definitions.push(definition);
            slots.repetitions.push(repetition);
        }
        slots
    }

    /// The levels of a leaf that is never null where its item is.
    pub fn required(&self) -> Levels<'_> {
        if self.items.is_empty()
            && self.definitions.len() == self.rows
            && self.definitions.iter().all(|level| *level == 0)
        {
            return Levels::Absent { rows: self.rows, most: self.most, deepest: self.deepest };
        }
        Levels::Nested {
            definitions: &self.definitions,
            repetitions: &self.repetitions,
            most: self.most,
            deepest: self.deepest,
            rows: self.rows,
        }
    }

    /// A leaf that may be null: its definitions, and its values.
    pub fn optional<'a, T>(&'a self, value: impl Fn(&'a I) -> Option<T>) -> (Vec<u8>, Vec<T>) {
        let mut values = Vec::new();
        let mut items = self.items.iter();
        let definitions = self.definitions.iter().map(|definition| {
            let value = if *definition == self.most { items.next().and_then(&value) } else { None };
            let there = u8::from(value.is_some());
            values.extend(value);
            definition + there
        });
        (definitions.collect(), values)
    }

    /// The levels that go with the definitions of an optional leaf.
    pub fn levels<'a>(&'a self, definitions: &'a [u8]) -> Levels<'a> {
        if definitions.len() == self.rows && definitions.iter().all(|level| *level == 0) {
            return Levels::Absent { rows: self.rows, most: self.most + 1, deepest: self.deepest };
        }
        Levels::Nested {
            definitions,
            repetitions: &self.repetitions,
            most: self.most + 1,
            deepest: self.deepest,
            rows: self.rows,
        }
    }
}
