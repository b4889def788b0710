//! How often each attribute is there, and which of them get columns.

use arrow_array::{Array, RecordBatch, cast::AsArray};
use hashbrown::HashMap;

use crate::schema::{self, Type, core};

/// At most so many attributes of a block have columns of their own.
pub const MAX_COLUMNS: usize = 128;

/// An attribute gets a column when one span of so many has it.
const RAREST: u64 = 1000;

/// Longer keys get no column: each page index and footer would repeat them.
const MAX_KEY_BYTES: usize = 256;

/// An attribute that spans have.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Attribute {
    /// Its key.
    pub key: String,
    /// The type of its values.
    #[serde(rename = "type")]
    pub kind: Type,
    /// How many spans have it.
    pub count: u64,
    /// Whether it has a column of its own in this block.
    pub promoted: bool,
}

/// How often attributes of single values are there. Arrays, maps and bytes are not counted: they never have columns.
#[derive(Clone, Debug, Default)]
pub struct Counts {
    spans: u64,
    counts: HashMap<String, [u64; 4]>,
}

const TYPES: [Type; 4] = [Type::String, Type::Int, Type::Double, Type::Bool];

/// Past so many keys new ones are left out: they are as rare as can be.
const MAX_KEYS: usize = 1 << 16;

impl Counts {
    /// Of batches in memory form.
    pub fn of(batches: &[RecordBatch]) -> Self {
        let mut counts = Self::default();
        batches.iter().for_each(|batch| counts.add_batch(batch));
        counts
    }

    /// How many spans were counted.
    pub fn spans(&self) -> u64 {
        self.spans
    }

    /// Adds a batch.
    pub fn add_batch(&mut self, batch: &RecordBatch) {
        self.spans += batch.num_rows() as u64;
        for (key, kind, at) in schema::attributes(batch.schema_ref()) {
            let array = batch.column(at);
            self.add(key, kind, (array.len() - array.null_count()) as u64);
        }
        let Some(lists) = batch.column(core::ATTRIBUTES).as_list_opt::<i32>() else { return };
        let (Some(first), Some(end)) = (lists.value_offsets().first(), lists.value_offsets().last()) else { return };
        let Some(entries) = lists.values().as_struct_opt() else { return };
        let Some(keys) = entries.columns().first().and_then(|keys| keys.as_string_opt::<i32>()) else { return };
        for entry in *first as usize..*end as usize {
            // The fields after the key are in the order of `TYPES`.
            let field = entries.columns()[1..].iter().position(|field| field.is_valid(entry));
            if let Some(kind) = field.and_then(|field| TYPES.get(field)) {
                self.add(keys.value(entry), *kind, 1);
            }
        }
    }

    /// Adds what a block says of itself.
    pub fn add_block(&mut self, spans: u64, attributes: &[Attribute]) {
        self.spans += spans;
        attributes.iter().for_each(|attribute| self.add(&attribute.key, attribute.kind, attribute.count));
    }

    fn add(&mut self, key: &str, kind: Type, count: u64) {
        if count == 0 {
            return;
        }
        let room = self.counts.len() < MAX_KEYS;
        if let Some(counts) = self.counts.get_mut(key) {
            counts[kind as usize] += count;
        } else if room {
            let mut counts = [0; 4];
            counts[kind as usize] = count;
            self.counts.insert(key.to_owned(), counts);
        }
    }

    /// The attributes that get columns, sorted by key: the most frequent, each with the type that it mostly has.
    pub fn promoted(&self) -> Vec<(String, Type)> {
        let mut keys: Vec<(&str, Type, u64)> = self
            .counts
            .iter()
            .filter_map(|(key, counts)| {
                // The first of equals.
                let (kind, count) = TYPES.into_iter().zip(*counts).rev().max_by_key(|(_, count)| *count)?;
                (count * RAREST >= self.spans && key.len() <= MAX_KEY_BYTES).then_some((key.as_str(), kind, count))
            })
            .collect();
        keys.sort_unstable_by_key(|(key, _, count)| (std::cmp::Reverse(*count), *key));
        keys.truncate(MAX_COLUMNS);
        let mut promoted: Vec<_> = keys.into_iter().map(|(key, kind, _)| (key.to_owned(), kind)).collect();
        promoted.sort_unstable();
        promoted
    }

    /// The `most` most frequent attributes, and whether that is all. `promoted` as above.
    pub fn list(&self, most: usize, promoted: &[(String, Type)]) -> (Vec<Attribute>, bool) {
        let each = self
            .counts
            .iter()
            .flat_map(|(key, counts)| TYPES.iter().zip(*counts).map(move |(kind, count)| (key, *kind, count)));
        let mut all: Vec<_> = each.filter(|(_, _, count)| *count > 0).collect();
        all.sort_unstable_by_key(|(key, kind, count)| (std::cmp::Reverse(*count), *key, *kind));
        let whole = all.len() <= most && self.counts.len() < MAX_KEYS;
        all.truncate(most);
        let attribute = |(key, kind, count): (&String, Type, u64)| {
            let promoted =
                promoted.binary_search_by(|(other, other_kind)| (other, other_kind).cmp(&(key, &kind))).is_ok();
            Attribute { key: key.clone(), kind, count, promoted }
        };
        (all.into_iter().map(attribute).collect(), whole)
    }
}
