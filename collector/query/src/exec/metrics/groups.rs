//! Groups of spans: one for each combination of what they are grouped by.

use hashbrown::HashMap;

use super::super::{
    Stopped,
    coded::{Coded, Key},
    mask::Mask,
    scope::Scope,
};
use crate::traceql::{
    ast::{Field, FieldAt},
    value::Value,
};

/// Groups so far, numbered as they come.
#[derive(Default)]
pub struct Groups {
    numbers: HashMap<Vec<Key>, u32>,
    pub labels: Vec<Vec<Value>>,
    /// Bytes of memory, about.
    pub bytes: usize,
}

/// More groups than that are refused: they would fill the memory.
const MAX_GROUPS: usize = 1 << 20;

impl Groups {
    /// The number of a group.
    pub fn number(&mut self, values: Vec<Value>) -> Result<u32, Stopped> {
        let next = self.labels.len() as u32;
        let key = values.iter().cloned().map(Key).collect();
        let number = *self.numbers.entry(key).or_insert(next);
        if number == next {
            if self.labels.len() == MAX_GROUPS {
                let why = format!("the query makes more than {MAX_GROUPS} series; group by less, or filter more");
                return Err(Stopped::TooMuch(why));
            }
            // As key and as labels.
            self.bytes += 2 * values.iter().map(Value::bytes).sum::<usize>();
            self.labels.push(values);
        }
        Ok(number)
    }
}

/// For each row of a part its group; rows outside of the mask have any.
pub fn of_part(
    scope: &Scope,
    part: u32,
    by: &[FieldAt],
    mask: &Mask,
    groups: &mut Groups,
) -> Result<Vec<u32>, Stopped> {
    let rows = scope.parts[part as usize].part.rows;
    let fields: Vec<&Field> = by.iter().map(|by| &by.field).collect();
    if fields.is_empty() {
        groups.number(Vec::new())?;
        return Ok(vec![0; rows]);
    }
    let mut columns: Vec<Coded> = fields.iter().map(|field| scope.coded(field, part, mask)).collect();
    // One column for all of them, as long as that needs no table.
    let mut sizes = columns.iter().map(|column| column.values.len().max(1));
    let all = sizes.try_fold(1usize, |all, size| all.checked_mul(size).filter(|all| *all <= 1 << 20));
    let Some(all) = all else { return by_table(&columns, mask, rows, groups) };
    let Some(last) = columns.pop() else { return Ok(vec![0; rows]) };
    let mut codes = last.codes;
    let mut factor = last.values.len().max(1) as u32;
    for column in columns.iter().rev() {
        codes.iter_mut().zip(&column.codes).for_each(|(code, more)| *code += more * factor);
        factor *= column.values.len().max(1) as u32;
    }
    columns.push(Coded { codes: Vec::new(), values: last.values });
    let mut numbers = vec![u32::MAX; all];
    let number_of = |mut code: u32, groups: &mut Groups| {
        let mut values: Vec<Value> = columns
            .iter()
            .rev()
            .map(|column| {
                let size = column.values.len().max(1) as u32;
                let value = column.values.get((code % size) as usize).cloned().unwrap_or_default();
                code /= size;
                value
            })
            .collect();
        values.reverse();
        groups.number(values)
    };
    for row in mask.rows(rows) {
        let code = codes[row];
        let number = &mut numbers[code as usize];
        if *number == u32::MAX {
            *number = number_of(code, groups)?;
        }
        codes[row] = *number;
    }
    Ok(codes)
}

fn by_table(columns: &[Coded], mask: &Mask, rows: usize, groups: &mut Groups) -> Result<Vec<u32>, Stopped> {
    let mut numbers: HashMap<Vec<u32>, u32> = HashMap::new();
    let mut codes = vec![0; rows];
    for row in mask.rows(rows) {
        let key: Vec<u32> = columns.iter().map(|column| column.codes[row]).collect();
        codes[row] = match numbers.get(&key) {
            Some(number) => *number,
            None => {
                let values = columns.iter().map(|column| column.values[column.codes[row] as usize].clone());
                let number = groups.number(values.collect())?;
                numbers.insert(key, number);
                number
            }
        };
    }
    Ok(codes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_of_groups_take_memory_once() {
        let mut groups = Groups::default();
        let label = |text: &str| vec![Value::String(text.repeat(1000))];
        assert_eq!(groups.number(label("a")), Ok(0));
        let of_one = groups.bytes;
        assert!(of_one >= 2000, "as key and as label: {of_one}");
        assert_eq!(groups.number(label("a")), Ok(0));
        assert_eq!(groups.bytes, of_one);
        assert_eq!(groups.number(label("b")), Ok(1));
        assert_eq!(groups.bytes, 2 * of_one);
    }
}
