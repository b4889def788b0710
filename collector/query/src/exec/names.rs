//! What the attributes of a part are called: all that is known of it without reading what they say.

use std::{collections::HashSet, sync::Arc};

use arrow_array::{Array, ArrayRef, ListArray, cast::AsArray};
use clew_storage::{
    block::BlockError,
    schema::{ATTRIBUTE_PREFIX, core},
};
use opentelemetry_proto::tonic::{common::v1::InstrumentationScope, resource::v1::Resource};
use prost::Message;

use super::{
    cache::{Cache, Key},
    mask::Mask,
    part::{Part, Place},
};

/// Where attributes are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TagScope {
    Span,
    Resource,
    Event,
    Link,
    Instrumentation,
    /// What every span has.
    Intrinsic,
}

impl TagScope {
    pub const OF_ATTRIBUTES: [Self; 5] = [Self::Span, Self::Resource, Self::Event, Self::Link, Self::Instrumentation];
}

/// Whether any span of a part may have an attribute of this name in a scope. Lists of attributes are long, and most of them have
/// few names: those of a block are kept, so that a list without the name is not read. Blocking.
pub fn may_have(part: &Part, cache: &Cache, scope: TagScope, key: &str) -> Result<bool, BlockError> {
    match part.place {
        Place::Block { .. } => Ok(names_kept(part, cache, scope, &Mask::All)?.contains(key)),
        // What is in memory soon is not.
        Place::Memory { .. } | Place::Rows { .. } => Ok(true),
    }
}

/// Whether any span of a part may have an attribute of this name otherwise than in a column of its own. Blocking.
pub fn may_list(part: &Part, cache: &Cache, key: &str) -> Result<bool, BlockError> {
    Ok(listed_kept(part, cache)?.is_none_or(|names| names.contains(key)))
}

/// What the attributes of a row group's spans are called that have no column of their own; None for what is in memory.
fn listed_kept(part: &Part, cache: &Cache) -> Result<Option<Arc<HashSet<String>>>, BlockError> {
    let Place::Block { block, group } = &part.place else { return Ok(None) };
    let read = || {
        let mut names = HashSet::new();
        of_lists(part.read(cache, core::ATTRIBUTES)?, &Mask::All, None, &mut names);
        Ok(names)
    };
    cache.names(Key::Listed(block.meta().id, *group as u32), read).map(Some)
}

/// What a whole row group has does not change, and is small.
pub fn names_kept(part: &Part, cache: &Cache, of: TagScope, mask: &Mask) -> Result<Arc<HashSet<String>>, BlockError> {
    match (&part.place, mask) {
        (Place::Block { block, group }, Mask::All) => {
            cache.names(Key::Names(block.meta().id, *group as u32, of), || names(part, cache, of, mask))
        }
        _ => names(part, cache, of, mask).map(Arc::new),
    }
}

fn names(part: &Part, cache: &Cache, of: TagScope, mask: &Mask) -> Result<HashSet<String>, BlockError> {
    let mut names = HashSet::new();
    // For names alone a column is read once, and is large: others would have to go for it.
    let column = |at: usize| if matches!(mask, Mask::All) { part.read(cache, at) } else { part.column(cache, at) };
    match of {
        TagScope::Span => {
            let shapes = part.shapes(cache)?;
            let shapes = shapes.map(|of_row| different(mask.rows(part.rows).map(|row| of_row.value(row))));
            for (at, column) in part.schema.fields().iter().enumerate().skip(core::COUNT) {
                let Some(name) = column.name().strip_prefix(ATTRIBUTE_PREFIX) else { continue };
                let is_used = match (&shapes, part.of_shapes(at)?) {
                    (Some(shapes), Some(values)) => shapes.iter().any(|shape| values.is_valid(*shape as usize)),
                    _ if matches!(mask, Mask::All) => part.has_values(at)?,
                    _ => {
                        let array = part.column(cache, at)?;
                        array.is_some_and(|array| mask.rows(part.rows).any(|row| array.is_valid(row)))
                    }
                };
                if is_used {
                    names.insert(name.to_owned());
                }
            }
            match (mask, listed_kept(part, cache)?) {
                (Mask::All, Some(listed)) => names.extend(listed.iter().cloned()),
                _ => of_lists(column(core::ATTRIBUTES)?, mask, None, &mut names),
            }
        }
        TagScope::Resource => {
            let (codes, resources) = part.resources(cache)?;
            let used: HashSet<u32> = mask.rows(part.rows).map(|row| codes.codes[row]).collect();
            let used = used.into_iter().filter_map(|code| resources[code as usize].as_ref()?.message.clone());
            let resources = used.filter_map(|message| Resource::decode(message).ok());
            names.extend(resources.flat_map(|resource| resource.attributes).map(|pair| pair.key));
        }
        TagScope::Event => of_lists(column(core::EVENTS)?, mask, Some(2), &mut names),
        TagScope::Link => of_lists(column(core::LINKS)?, mask, Some(3), &mut names),
        TagScope::Instrumentation => {
            let fields = column(core::SCOPE_FIELDS)?;
            let Some(fields) = fields.as_ref().and_then(|fields| fields.as_binary_opt::<i32>()) else {
                return Ok(names);
            };
            let rows = mask.rows(part.rows).filter(|row| fields.is_valid(*row));
            let messages: HashSet<&[u8]> = rows.map(|row| fields.value(row)).collect();
            let scopes = messages.into_iter().filter_map(|message| InstrumentationScope::decode(message).ok());
            names.extend(scopes.flat_map(|scope| scope.attributes).map(|pair| pair.key));
        }
        TagScope::Intrinsic => {}
    }
    Ok(names)
}

/// Numbers from 0 that are not large, each once.
fn different(numbers: impl Iterator<Item = u32>) -> Vec<u32> {
    let (mut different, mut seen) = (Vec::new(), Vec::new());
    for number in numbers {
        let at = number as usize;
        if seen.len() <= at {
            seen.resize(at + 1, false);
        }
        if !std::mem::replace(&mut seen[at], true) {
            different.push(number);
        }
    }
    different
}

/// The keys of lists of attributes; of those that are the column `inside` of what the lists hold, when that is said.
fn of_lists(array: Option<ArrayRef>, mask: &Mask, inside: Option<usize>, names: &mut HashSet<String>) {
    let Some(lists) = array.as_ref().and_then(|array| array.as_list_opt::<i32>()) else { return };
    let attributes = match inside {
        None => Some(lists),
        Some(column) => lists.values().as_struct_opt().and_then(|entries| entries.column(column).as_list_opt()),
    };
    let keys = |lists: &ListArray| Some(lists.values().as_struct_opt()?.column(0).as_string_opt::<i32>()?.clone());
    let Some((attributes, keys)) = attributes.and_then(|lists| Some((lists, keys(lists)?))) else { return };
    let (entries, pairs) = (lists.value_offsets(), attributes.value_offsets());
    for row in mask.rows(lists.len()) {
        let (start, end) = (entries[row] as usize, entries[row + 1] as usize);
        let pairs = if inside.is_none() { start..end } else { pairs[start] as usize..pairs[end] as usize };
        for key in pairs.map(|pair| keys.value(pair)) {
            if !names.contains(key) {
                names.insert(key.to_owned());
            }
        }
    }
}
