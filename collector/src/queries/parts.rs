//! Cuts what is long into messages.

use bytes::Bytes;
use clew_common::otlp::wire::{BYTES, Field, Reader, key_of};

/// A message is cut near this size, well under gRPC's usual limit of 4 MiB. One piece may be larger.
const PART_BYTES: usize = 1 << 20;

/// Pieces, in order, as the pieces of each message; of one message at least.
pub fn cut<T>(pieces: impl IntoIterator<Item = T>, bytes_of: impl Fn(&T) -> usize) -> Vec<Vec<T>> {
    let mut parts = vec![Vec::new()];
    let mut bytes = 0;
    for piece in pieces {
        let piece_bytes = bytes_of(&piece);
        if bytes > 0 && bytes + piece_bytes > PART_BYTES {
            parts.push(Vec::new());
            bytes = 0;
        }
        bytes += piece_bytes;
        if let Some(part) = parts.last_mut() {
            part.push(piece);
        }
    }
    parts
}

/// The ResourceSpans of OTLP TracesData, as the bytes they are.
pub fn resource_spans(otlp: &Bytes) -> Vec<Bytes> {
    let mut reader = Reader::new(otlp);
    let mut all = Vec::new();
    while let Some(field) = reader.field(key_of(1, BYTES)) {
        if let Field::Child(resource_spans) = field {
            all.push(otlp.slice_ref(resource_spans.rest));
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_full_and_nothing_is_lost() {
        let third = PART_BYTES / 3;
        let parts = cut([third, third, third, third, 2 * PART_BYTES, 1], |bytes| *bytes);
        assert_eq!(parts, [vec![third; 3], vec![third], vec![2 * PART_BYTES], vec![1]]);
        assert_eq!(cut([], |bytes: &usize| *bytes), [Vec::<usize>::new()]);
    }
}
