//! Which attributes of which rows go to columns of their own, and which to lists.

use arrow_array::{
    Array, ArrayRef,
    cast::AsArray,
    types::{Float64Type, Int64Type, UInt32Type},
};
use hashbrown::HashMap;

use super::{
    WriteError,
    flat::Flat,
    lists::{Entry, Pairs, Value},
    strings::{FlatStrings, NULL},
    wrong,
};
use crate::{
    merge::{Inputs, is_null, locate, null, starts},
    schema::{self, Type, core},
};

/// Of some inputs what has to be looked at before any column is written: their lists, and columns that the block has not.
pub struct Loaded {
    inputs: Vec<Input>,
}

struct Input {
    rows: usize,
    /// Where it has the block's attributes.
    places: Vec<Option<usize>>,
    lists: Column,
    demoted: Vec<(String, Type, Column)>,
    /// Of columns of its own: those that its lists have more for.
    own: HashMap<usize, Column>,
}

/// A column of an input, whose rows are looked at one by one.
struct Column {
    pieces: Vec<ArrayRef>,
    starts: Vec<usize>,
}

impl Column {
    fn read(inputs: &mut dyn Inputs, input: usize, at: usize) -> Result<Self, WriteError> {
        let mut pieces = Vec::new();
        inputs.read(input, at, &mut pieces)?;
        let starts = starts(pieces.iter().map(|piece| piece.len()));
        Ok(Self { pieces, starts })
    }

    fn has_values(&self) -> bool {
        self.pieces.iter().any(|piece| !is_null(piece) && piece.null_count() < piece.len())
    }

    /// The piece that has a row, and its place there; None when it has no value.
    fn at(&self, row: usize) -> Option<(&dyn Array, usize)> {
        let (piece, row) = locate(&self.starts, row as u32);
        let piece = &*self.pieces[piece];
        (!is_null(piece) && piece.is_valid(row)).then_some((piece, row))
    }
}

impl Loaded {
    /// Reads that. `columns` are the attributes that the block has columns for.
    pub fn of(inputs: &mut dyn Inputs, columns: &[(String, Type)]) -> Result<Self, WriteError> {
        let places = places(columns);
        (0..inputs.count())
            .map(|input| Input::of(inputs, input, columns, &places))
            .collect::<Result<_, _>>()
            .map(|inputs| Self { inputs })
    }
}

impl Input {
    fn of(
        inputs: &mut dyn Inputs,
        number: usize,
        columns: &[(String, Type)],
        places: &HashMap<&str, usize>,
    ) -> Result<Self, WriteError> {
        let schema = inputs.schema(number);
        let lists = Column::read(inputs, number, core::ATTRIBUTES)?;
        let (mut own_places, mut demoted) = (vec![None; columns.len()], Vec::new());
        for (key, kind, at) in schema::attributes(&schema) {
            match places.get(key) {
                Some(place) if columns[*place].1 == kind => own_places[*place] = Some(at),
                _ => {
                    let column = Column::read(inputs, number, at)?;
                    if column.has_values() {
                        demoted.push((key.to_owned(), kind, column));
                    }
                }
            }
        }
        let mut own = HashMap::new();
        for piece in lists.pieces.iter().filter(|piece| !is_null(piece)) {
            let lists = Pairs::new(piece).ok_or_else(|| wrong(core::ATTRIBUTES))?;
            for entry in lists.all() {
                if let Some(place) = place(columns, places, &entry)
                    && let Some(at) = own_places[place]
                    && !own.contains_key(&place)
                {
                    own.insert(place, Column::read(inputs, number, at)?);
                }
            }
        }
        Ok(Self { rows: inputs.rows(number), places: own_places, lists, demoted, own })
    }
}

fn places(columns: &[(String, Type)]) -> HashMap<&str, usize> {
    columns.iter().enumerate().map(|(at, (key, _))| (key.as_str(), at)).collect()
}

/// The column that an entry of a list may move to.
fn place(columns: &[(String, Type)], places: &HashMap<&str, usize>, entry: &Entry<'_>) -> Option<usize> {
    let place = *places.get(entry.key)?;
    let fits = matches!(
        (columns[place].1, entry.value),
        (Type::String, Value::String(_))
            | (Type::Int, Value::Int(_))
            | (Type::Double, Value::Double(_))
            | (Type::Bool, Value::Bool(_))
    );
    fits.then_some(place)
}

/// The attributes of some inputs, one input after the other.
pub struct Attributes<'a> {
    inputs: &'a [Input],
    columns: &'a [(String, Type)],
    /// Where the lists of rows end in `entries`.
    ends: Vec<u32>,
    entries: Vec<Entry<'a>>,
    /// Rows without a list at all are told from empty ones by nobody, so that there are none.
    moved: Vec<Vec<(usize, Value<'a>)>>,
}

impl<'a> Attributes<'a> {
    /// Sorts them out. `columns` are those of the block.
    pub fn of(loaded: &'a Loaded, columns: &'a [(String, Type)]) -> Result<Self, WriteError> {
        let places = places(columns);
        let mut all = Self {
            inputs: &loaded.inputs,
            columns,
            ends: Vec::with_capacity(loaded.inputs.iter().map(|input| input.rows).sum()),
            entries: Vec::new(),
            moved: columns.iter().map(|_| Vec::new()).collect(),
        };
        for input in &loaded.inputs {
            all.input(input, &places)?;
        }
        Ok(all)
    }

    fn input(&mut self, input: &'a Input, places: &HashMap<&str, usize>) -> Result<(), WriteError> {
        if !input.lists.has_values() && input.demoted.is_empty() {
            self.ends.resize(self.ends.len() + input.rows, self.entries.len() as u32);
            return Ok(());
        }
        let pairs = |piece: &'a ArrayRef| match is_null(piece) {
            true => Ok(None),
            false => Pairs::new(piece).map(Some).ok_or_else(|| wrong(core::ATTRIBUTES)),
        };
        let lists = input.lists.pieces.iter().map(pairs).collect::<Result<Vec<_>, _>>()?;
        for row in 0..input.rows {
            let flat = self.ends.len();
            let (piece, place_in_it) = locate(&input.lists.starts, row as u32);
            for entry in lists[piece].and_then(|lists| lists.row(place_in_it)).into_iter().flatten() {
                match place(self.columns, places, &entry) {
                    Some(place)
                        if input.own.get(&place).is_none_or(|own| own.at(row).is_none())
                            && self.moved[place].last().is_none_or(|(last, _)| *last != flat) =>
                    {
                        self.moved[place].push((flat, entry.value));
                    }
                    _ => self.entries.push(entry),
                }
            }
            for (key, kind, column) in &input.demoted {
                let value = column.at(row).and_then(|(piece, row)| value(piece, *kind, row));
                self.entries.extend(value.map(|value| Entry { key, value }));
            }
            self.ends.push(u32::try_from(self.entries.len()).map_err(|_| WriteError::TooMany)?);
        }
        Ok(())
    }

    /// The attributes of a row that have no column; None without any.
    pub fn list(&self, row: usize) -> Option<&[Entry<'a>]> {
        let start = if row == 0 { 0 } else { self.ends[row - 1] as usize };
        let end = self.ends[row] as usize;
        (start < end).then(|| &self.entries[start..end])
    }

    /// Those with columns.
    pub fn columns(&self) -> &'a [(String, Type)] {
        self.columns
    }

    /// What a row has in a column of the block, of what its input has in a list.
    pub fn moved(&self, at: usize, row: usize) -> Option<Value<'a>> {
        let moved = &self.moved[at];
        moved.binary_search_by_key(&row, |(row, _)| *row).ok().map(|found| moved[found].1)
    }

    /// The inputs' own columns of an attribute.
    pub fn read(&self, inputs: &mut dyn Inputs, at: usize) -> Result<Vec<ArrayRef>, WriteError> {
        let mut pieces = Vec::new();
        for (number, input) in self.inputs.iter().enumerate() {
            match input.places[at] {
                Some(column) => inputs.read(number, column, &mut pieces)?,
                None => pieces.push(null(input.rows)),
            }
        }
        Ok(pieces)
    }

    /// The column of a key of strings. `pieces` are what was read of it.
    pub fn strings<'p>(&'p self, at: usize, pieces: &'p [ArrayRef]) -> Result<FlatStrings<'p>, WriteError> {
        let mut flat = FlatStrings::new(self.ends.len());
        flat.extend(pieces).ok_or_else(|| self.wrong(at))?;
        for (row, value) in &self.moved[at] {
            if let Value::String(value) = value {
                debug_assert_eq!(flat.keys[*row], NULL);
                flat.keys[*row] = flat.table.key(value.as_bytes());
            }
        }
        Ok(flat)
    }

    /// The column of a key of whole numbers.
    pub fn ints(&self, at: usize, pieces: &[ArrayRef]) -> Result<Flat<i64>, WriteError> {
        self.flat(at, pieces, Flat::append::<Int64Type>, |value| match value {
            Value::Int(value) => Some(value),
            _ => None,
        })
    }

    /// The column of a key of numbers.
    pub fn doubles(&self, at: usize, pieces: &[ArrayRef]) -> Result<Flat<f64>, WriteError> {
        self.flat(at, pieces, Flat::append::<Float64Type>, |value| match value {
            Value::Double(value) => Some(value),
            _ => None,
        })
    }

    /// The column of a key of truths.
    pub fn bools(&self, at: usize, pieces: &[ArrayRef]) -> Result<Flat<u8>, WriteError> {
        self.flat(at, pieces, Flat::append_bools, |value| match value {
            Value::Bool(value) => Some(value.into()),
            _ => None,
        })
    }

    fn flat<T: Copy + Default>(
        &self,
        at: usize,
        pieces: &[ArrayRef],
        append: impl Fn(&mut Flat<T>, &dyn Array) -> Option<()>,
        of: impl Fn(Value<'a>) -> Option<T>,
    ) -> Result<Flat<T>, WriteError> {
        let mut flat = Flat::new(self.ends.len());
        flat.extend(pieces, append).ok_or_else(|| self.wrong(at))?;
        for (row, value) in &self.moved[at] {
            if let Some(value) = of(*value) {
                flat.set(*row, value);
            }
        }
        Ok(flat)
    }

    fn wrong(&self, at: usize) -> WriteError {
        WriteError::Column(format!("{}{}", schema::ATTRIBUTE_PREFIX, self.columns[at].0))
    }
}

/// The value of a row that has one. None if the column is of another type.
fn value(array: &dyn Array, kind: Type, row: usize) -> Option<Value<'_>> {
    Some(match kind {
        Type::String => {
            let strings = array.as_any_dictionary_opt()?;
            let key = array.as_dictionary_opt::<UInt32Type>()?.keys().value(row);
            Value::String(strings.values().as_string_opt::<i32>()?.value(key as usize))
        }
        Type::Int => Value::Int(array.as_primitive_opt::<Int64Type>()?.value(row)),
        Type::Double => Value::Double(array.as_primitive_opt::<Float64Type>()?.value(row)),
        Type::Bool => Value::Bool(array.as_boolean_opt()?.value(row)),
    })
}
