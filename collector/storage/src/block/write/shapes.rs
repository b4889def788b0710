//! Shapes: what spans of the same operation say alike (their name, service, scope, route, method, ...) is one row of
//! `shapes.parquet`, whose number each of them has in the column `shape_id`.
//!
//! [`choose`] finds the columns for which this makes a block smaller: those that mostly follow from the others. [`Shapes`]
//! numbers the shapes of rows as they are written.

use std::{hash::BuildHasher, sync::Arc};

use arrow_array::{
    Array, ArrayRef, BinaryArray, BooleanArray, Float64Array, Int32Array, Int64Array, RecordBatch, UInt32Array,
    UInt64Array,
    builder::StringDictionaryBuilder,
    cast::AsArray,
    types::{Float64Type, Int32Type, Int64Type, UInt32Type},
};
use arrow_schema::{DataType, Field, FieldRef, Schema, SchemaRef};
use hashbrown::{DefaultHashBuilder, HashMap};
use xxhash_rust::xxh3::xxh3_128_with_seed;

use super::{
    WriteError,
    attributes::{Attributes, Loaded},
    flat::Flat,
    levels::Levels,
    lists::Value,
    strings::{FlatStrings, NULL},
};
use crate::{
    block::shapes::{HAS_COLUMNS, SHAPE_ID, SPANS_OF_SHAPE},
    merge::{Batches, Inputs, MAX_COLUMNS, is_null, locate, starts},
    schema::{self, Type, core},
};

/// A column that shapes have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Column {
    /// By its place in [`core`].
    Core(usize),
    /// By its place among the block's attributes.
    Attribute(usize),
}

/// The core columns that shapes may have. The first two are what others follow from.
const CORE: [usize; 7] = [
    core::NAME,
    core::SERVICE_NAME,
    core::KIND,
    core::SCOPE_NAME,
    core::SCOPE_VERSION,
    core::SCOPE_SCHEMA_URL,
    core::FLAGS,
];

/// So many rows are looked at to choose columns.
const SAMPLE_ROWS: usize = 16 << 10;

/// The file and its columns take as much as so many shapes.
const FILE_SHAPES: usize = 64;

/// A block has no more shapes: all of them are in memory when it is read.
pub const MAX_SHAPES: usize = 1 << 17;

/// The columns that shall be in shapes; none when there had better be no shapes. A column pays when it takes fewer bytes beside
/// the ones chosen before (by the entropy of both together) than alone, and the shapes that come of it, `shape_bytes` each,
/// do not take more than that, and as long as there are not too many. `first` are the first rows of the block,
/// which will have `all`.
pub fn choose(
    first: &mut dyn Inputs,
    attributes: &[(String, Type)],
    all: usize,
    shape_bytes: usize,
) -> Result<Vec<Column>, WriteError> {
    let stride = first.all_rows().div_ceil(SAMPLE_ROWS).max(1);
    // From all over: those that come in one request are alike.
    let sample: Vec<u32> = (0..first.all_rows() as u32).step_by(stride).collect();
    let sample = first.pick(&sample)?;
    let sample = &mut Batches(&sample);
    let rows = sample.all_rows();
    if rows == 0 {
        return Ok(Vec::new());
    }
    let loaded = Loaded::of(sample, attributes)?;
    let attributes = Attributes::of(&loaded, attributes)?;
    let mut with_codes = |column: Column| {
        let coded = column.read(sample, &attributes);
        let coded = coded
            .and_then(|pieces| Ok(Coded::of(column, &pieces, &attributes, rows / 4 + 1)?.map(|coded| coded.codes)));
        coded.map(|codes| Some((column, codes?))).transpose()
    };
    let core = CORE.into_iter().map(Column::Core).filter_map(&mut with_codes).collect::<Result<Vec<_>, _>>()?;
    let others = (0..attributes.columns().len()).map(Column::Attribute).filter_map(with_codes);
    let mut others = others.collect::<Result<Vec<_>, _>>()?;
    others.sort_by_cached_key(|(_, codes)| std::cmp::Reverse((Joint::default().with(codes, rows).bits * 1e6) as u64));

    let mut chosen = Vec::new();
    let mut joint = Joint::default();
    let mut saved = 0.0;
    for (column, codes) in core.into_iter().chain(others) {
        let (alone, together) = (Joint::default().with(&codes, rows), joint.with(&codes, rows));
        let bytes = (alone.bits - (together.bits - joint.bits)) / 8.0 * all as f64;
        let price = (together.expected(all) - joint.expected(all)) * shape_bytes as f64;
        // The first one is what others may follow from.
        let pays = bytes > price || price <= 0.0 || chosen.is_empty() && together.count > 1;
        if pays && together.expected(all) <= MAX_SHAPES as f64 {
            saved += bytes - price;
            chosen.push(column);
            joint = together;
        }
    }
    if chosen.len() < 2 || saved <= (FILE_SHAPES * shape_bytes) as f64 {
        chosen.clear();
    }
    Ok(chosen)
}

/// Some columns of the sample together.
#[derive(Default)]
struct Joint {
    /// For each row a number for what the columns say together; empty: there are no columns.
    codes: Vec<u32>,
    /// How many numbers there are, and how many the first half of the rows has.
    count: usize,
    of_half: usize,
    /// Entropy of a row.
    bits: f64,
}

impl Joint {
    /// How many numbers so many rows would have, of which these are some: as if new ones went on to come as they do in the second
    /// half of these (Heaps' law). It is mostly a little more than there will be.
    fn expected(&self, rows: usize) -> f64 {
        let times = (rows as f64 / self.codes.len().max(1) as f64).max(1.0);
        let doubled = self.count as f64 / self.of_half.max(1) as f64;
        self.count as f64 * times.powf(doubled.log2())
    }

    /// With another column.
    fn with(&self, codes: &[u32], rows: usize) -> Self {
        let mut places: HashMap<(u32, u32), u32> = HashMap::new();
        let mut counts: Vec<u32> = Vec::new();
        let pairs = codes.iter().enumerate().map(|(row, code)| (self.codes.get(row).copied().unwrap_or(0), *code));
        let mut of_half = 0;
        let together = pairs.enumerate().map(|(row, pair)| {
            let place = *places.entry(pair).or_insert_with(|| {
                counts.push(0);
                counts.len() as u32 - 1
            });
            counts[place as usize] += 1;
            if row < rows / 2 {
                of_half = counts.len();
            }
            place
        });
        let codes = together.collect();
        let share = |count: &u32| f64::from(*count) / rows as f64;
        let bits = counts.iter().map(|count| -share(count) * share(count).log2()).sum();
        Self { codes, count: counts.len(), of_half, bits }
    }
}

/// A column of some batches: for each row the place of its value among the different ones, or [`NULL`].
struct Coded<'a> {
    codes: Vec<u32>,
    values: Vec<Said<'a>>,
}

/// A value, of a column whose type is known.
#[derive(Clone, Copy)]
enum Said<'a> {
    Text(&'a [u8]),
    /// 64 bits of a number.
    Bits(u64),
}

impl<'a> Said<'a> {
    fn of(value: Value<'a>) -> Option<Self> {
        match value {
            Value::String(text) => Some(Self::Text(text.as_bytes())),
            Value::Int(int) => Some(Self::Bits(int as u64)),
            Value::Double(double) => Some(Self::Bits(double.to_bits())),
            Value::Bool(truth) => Some(Self::Bits(truth.into())),
            Value::Empty | Value::Other(_) => None,
        }
    }

    /// What a piece of a column has in a row.
    fn at(piece: &'a dyn Array, row: usize) -> Option<Self> {
        if is_null(piece) || piece.is_null(row) {
            return None;
        }
        match piece.data_type() {
            DataType::Int32 => Some(Self::Bits(piece.as_primitive::<Int32Type>().value(row) as u64)),
            DataType::UInt32 => Some(Self::Bits(piece.as_primitive::<UInt32Type>().value(row).into())),
            DataType::Int64 => Some(Self::Bits(piece.as_primitive::<Int64Type>().value(row) as u64)),
            DataType::Float64 => Some(Self::Bits(piece.as_primitive::<Float64Type>().value(row).to_bits())),
            DataType::Boolean => Some(Self::Bits(piece.as_boolean().value(row).into())),
            _ => {
                let strings = piece.as_dictionary_opt::<UInt32Type>()?;
                let values = strings.values().as_string_opt::<i32>()?;
                Some(Self::Text(values.value(strings.keys().value(row) as usize).as_bytes()))
            }
        }
    }
}

impl<'a> Coded<'a> {
    /// None when there are more than `most` different values.
    fn of(
        column: Column,
        pieces: &'a [ArrayRef],
        attributes: &'a Attributes<'_>,
        most: usize,
    ) -> Result<Option<Self>, WriteError> {
        let number = |column| Self::numbers(&column, u64::from, most);
        Ok(match column {
            Column::Core(core::KIND) => {
                let kinds = Flat::of(pieces, core::KIND, |flat, array| {
                    flat.append_with(array.as_primitive_opt::<Int32Type>()?, i32::cast_unsigned);
                    Some(())
                });
                number(kinds?)
            }
            Column::Core(core::FLAGS) => number(Flat::of(pieces, core::FLAGS, Flat::append::<UInt32Type>)?),
            Column::Core(at) => Self::strings(FlatStrings::of(pieces, at)?, most),
            Column::Attribute(at) => match attributes.columns()[at].1 {
                Type::String => Self::strings(attributes.strings(at, pieces)?, most),
                Type::Int => Self::numbers(&attributes.ints(at, pieces)?, i64::cast_unsigned, most),
                Type::Double => Self::numbers(&attributes.doubles(at, pieces)?, f64::to_bits, most),
                Type::Bool => Self::numbers(&attributes.bools(at, pieces)?, u64::from, most),
            },
        })
    }

    fn strings(flat: FlatStrings<'a>, most: usize) -> Option<Self> {
        let values = flat.table.values();
        (values.len() <= most)
            .then(|| Self { values: values.iter().map(|text| Said::Text(text)).collect(), codes: flat.keys })
    }

    fn numbers<T: Copy + Default>(flat: &Flat<T>, bits: impl Fn(T) -> u64, most: usize) -> Option<Self> {
        let mut places: HashMap<u64, u32> = HashMap::new();
        let mut all = Self { codes: Vec::with_capacity(flat.values.len()), values: Vec::new() };
        let mut last = None;
        for row in 0..flat.values.len() {
            let Some(bits) = flat.get(row).map(&bits) else {
                all.codes.push(NULL);
                continue;
            };
            let code = match last {
                Some((same, code)) if same == bits => code,
                _ => *places.entry(bits).or_insert_with(|| {
                    all.values.push(Said::Bits(bits));
                    all.values.len() as u32 - 1
                }),
            };
            if all.values.len() > most {
                return None;
            }
            last = Some((bits, code));
            all.codes.push(code);
        }
        Some(all)
    }
}

/// The shapes of a block so far.
pub struct Shapes {
    columns: Vec<Column>,
    fields: Vec<FieldRef>,
    values: Vec<Values>,
    /// How many spans each has.
    spans: Vec<u64>,
    /// Which columns of the file of spans each has a value in, a bit each.
    has: Vec<Bits>,
    /// Columns that all have.
    all_have: Bits,
    /// Their numbers, by the sum of the hashes of what they say. Each column has other hashes, and nobody outside knows the
    /// seed, so that two shapes have the same sum by one chance in 2^128.
    numbers: HashMap<u128, u32>,
    seed: u64,
}

/// One for each column of the file of spans.
type Bits = [u8; (core::COUNT + MAX_COLUMNS).div_ceil(8)];

/// What shapes say in a column.
enum Values {
    Text(Box<StringDictionaryBuilder<UInt32Type>>),
    Bits(Vec<Option<u64>>),
}

impl Shapes {
    /// Without any. `attributes` are those of the block.
    pub fn new(columns: Vec<Column>, attributes: &[(String, Type)]) -> Self {
        let fields: Vec<FieldRef> = columns.iter().map(|column| column.field(attributes)).collect();
        let values = |field: &FieldRef| match field.data_type() {
            DataType::Dictionary(..) => Values::Text(Box::default()),
            _ => Values::Bits(Vec::new()),
        };
        Self {
            values: fields.iter().map(values).collect(),
            columns,
            fields,
            spans: Vec::new(),
            has: Vec::new(),
            all_have: Bits::default(),
            numbers: HashMap::new(),
            seed: DefaultHashBuilder::default().hash_one(0),
        }
    }

    /// Whether they have a column: then the spans do not.
    pub fn have(&self, column: Column) -> bool {
        self.columns.contains(&column)
    }

    /// The schema of spans without these columns, but with the numbers of shapes. `schema` is that of the block.
    pub fn schema(&self, schema: &SchemaRef) -> SchemaRef {
        let keep = |field: &&FieldRef| !self.fields.iter().any(|other| other.name() == field.name());
        let (core, attributes) = schema.fields().split_at(core::COUNT);
        let mut fields: Vec<FieldRef> = core.iter().filter(keep).cloned().collect();
        fields.push(Arc::new(Field::new(SHAPE_ID, DataType::UInt32, false)));
        fields.extend(attributes.iter().filter(keep).cloned());
        Arc::new(Schema::new(fields))
    }

    /// The numbers of the shapes of some rows, counted through all inputs. Among new shapes the more frequent
    /// come first: small numbers take less.
    pub fn number(
        &mut self,
        inputs: &mut dyn Inputs,
        attributes: &Attributes<'_>,
        rows: &[u32],
    ) -> Result<Vec<u32>, WriteError> {
        let mut sums = vec![0u128; inputs.all_rows()];
        for at in 0..self.columns.len() {
            self.add_hashes(at, inputs, attributes, &mut sums)?;
        }
        let known = self.spans.len();
        // Of each new shape a row, and how many there are.
        let mut new: Vec<(u32, u64)> = Vec::new();
        let mut numbers = Vec::with_capacity(rows.len());
        for row in rows {
            let number = *self.numbers.entry(sums[*row as usize]).or_insert_with(|| {
                new.push((*row, 0));
                (known + new.len() - 1) as u32
            });
            match new.get_mut((number as usize).wrapping_sub(known)) {
                Some((_, count)) => *count += 1,
                None => self.spans[number as usize] += 1,
            }
            numbers.push(number);
        }
        if known + new.len() > MAX_SHAPES {
            return Err(WriteError::TooManyShapes);
        }
        let mut order: Vec<usize> = (0..new.len()).collect();
        order.sort_by_key(|at| std::cmp::Reverse(new[*at].1));
        let mut places = vec![0; new.len()];
        for (place, at) in order.iter().enumerate() {
            let (row, count) = new[*at];
            places[*at] = (known + place) as u32;
            self.numbers.insert(sums[row as usize], places[*at]);
            self.spans.push(count);
            self.has.push(Bits::default());
        }
        if !new.is_empty() {
            self.keep(inputs, attributes, &order.into_iter().map(|at| new[at].0).collect::<Vec<_>>())?;
        }
        let placed = |number: u32| places.get((number as usize).wrapping_sub(known)).copied().unwrap_or(number);
        numbers.iter_mut().for_each(|number| *number = placed(*number));
        Ok(numbers)
    }

    /// Takes note of which rows have a value in a column of the file of spans. `numbers` are their shapes.
    pub fn note(&mut self, column: usize, numbers: &[u32], levels: &Levels<'_>) {
        let (byte, bit) = (column / 8, 1 << (column % 8));
        if let Levels::Required { .. } = levels {
            self.all_have[byte] |= bit;
        }
        levels.each_present(|row| self.has[numbers[row] as usize][byte] |= bit);
    }

    /// Adds what rows say in a column.
    fn add_hashes(
        &self,
        at: usize,
        inputs: &mut dyn Inputs,
        attributes: &Attributes<'_>,
        sums: &mut [u128],
    ) -> Result<(), WriteError> {
        let pieces = self.columns[at].read(inputs, attributes)?;
        let Some(coded) = Coded::of(self.columns[at], &pieces, attributes, usize::MAX)? else { return Ok(()) };
        let seed = self.seed.wrapping_add(at as u64);
        let hash = |value: &Said<'_>| match value {
            Said::Text(text) => xxh3_128_with_seed(text, seed),
            Said::Bits(bits) => xxh3_128_with_seed(&bits.to_le_bytes(), seed),
        };
        let hashes: Vec<u128> = coded.values.iter().map(hash).collect();
        for (sum, code) in sums.iter_mut().zip(&coded.codes) {
            if let Some(hash) = hashes.get(*code as usize) {
                *sum = sum.wrapping_add(*hash);
            }
        }
        Ok(())
    }

    /// Takes the shapes of some rows, the next ones.
    fn keep(&mut self, inputs: &mut dyn Inputs, attributes: &Attributes<'_>, rows: &[u32]) -> Result<(), WriteError> {
        for (column, values) in self.columns.iter().zip(&mut self.values) {
            let pieces = column.read(inputs, attributes)?;
            let starts = starts(pieces.iter().map(|piece| piece.len()));
            for flat in rows {
                let (piece, row) = locate(&starts, *flat);
                let moved = || match column {
                    Column::Core(_) => None,
                    Column::Attribute(at) => attributes.moved(*at, *flat as usize).and_then(Said::of),
                };
                match (&mut *values, Said::at(&pieces[piece], row).or_else(moved)) {
                    (Values::Text(texts), Some(Said::Text(text))) => {
                        texts.append_value(str::from_utf8(text).map_err(|_| WriteError::Column("strings".to_owned()))?);
                    }
                    (Values::Text(texts), _) => texts.append_null(),
                    (Values::Bits(all), Some(Said::Bits(bits))) => all.push(Some(bits)),
                    (Values::Bits(all), _) => all.push(None),
                }
            }
        }
        Ok(())
    }

    /// All of them as a table.
    pub fn table(self) -> Result<RecordBatch, WriteError> {
        let mut fields = vec![
            Arc::new(Field::new(SHAPE_ID, DataType::UInt32, false)),
            Arc::new(Field::new(SPANS_OF_SHAPE, DataType::UInt64, false)),
            Arc::new(Field::new(HAS_COLUMNS, DataType::Binary, false)),
        ];
        let all = self.all_have;
        let has = self.has.iter().map(|has| has.iter().zip(all).map(|(bits, all)| bits | all).collect::<Vec<u8>>());
        let mut arrays: Vec<ArrayRef> = vec![
            Arc::new(UInt32Array::from_iter_values(0..self.spans.len() as u32)),
            Arc::new(UInt64Array::from(self.spans)),
            Arc::new(BinaryArray::from_iter_values(has)),
        ];
        for (field, values) in self.fields.into_iter().zip(self.values) {
            arrays.push(match values {
                Values::Text(mut texts) => Arc::new(texts.finish()),
                Values::Bits(bits) => of_bits(&field, &bits)?,
            });
            fields.push(field);
        }
        Ok(RecordBatch::try_new(Arc::new(Schema::new(fields)), arrays)?)
    }
}

impl Column {
    fn read(self, inputs: &mut dyn Inputs, attributes: &Attributes<'_>) -> Result<Vec<ArrayRef>, WriteError> {
        match self {
            Self::Core(at) => inputs.core(at),
            Self::Attribute(at) => attributes.read(inputs, at),
        }
    }

    fn field(self, attributes: &[(String, Type)]) -> FieldRef {
        match self {
            Self::Core(at) => schema::CORE[at].clone(),
            Self::Attribute(at) => {
                let (key, kind) = &attributes[at];
                Arc::new(Field::new(format!("{}{key}", schema::ATTRIBUTE_PREFIX), kind.data_type(), true))
            }
        }
    }
}

fn of_bits(field: &FieldRef, bits: &[Option<u64>]) -> Result<ArrayRef, WriteError> {
    let each = || bits.iter().copied();
    Ok(match field.data_type() {
        DataType::Int32 => Arc::new(each().map(|bits| Some(bits? as i32)).collect::<Int32Array>()),
        DataType::UInt32 => Arc::new(each().map(|bits| Some(bits? as u32)).collect::<UInt32Array>()),
        DataType::Int64 => Arc::new(each().map(|bits| Some(bits? as i64)).collect::<Int64Array>()),
        DataType::Float64 => Arc::new(each().map(|bits| Some(f64::from_bits(bits?))).collect::<Float64Array>()),
        DataType::Boolean => Arc::new(each().map(|bits| Some(bits? != 0)).collect::<BooleanArray>()),
        _ => return Err(WriteError::Column(field.name().clone())),
    })
}
