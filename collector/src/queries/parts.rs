//! Cuts what is long into messages.

use bytes::Bytes;
use clew_common::otlp::wire::{BYTES, Field, Reader, key_of, put_varint};

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

/// What an answer that is one message may take, with room for its other fields: clients take 4 MiB unless they say so.
pub const MESSAGE_BYTES: usize = 3 << 20;

/// Room in an answer that is one message.
pub struct Room(usize);

impl Room {
    /// Of an empty one, divided by what shares it.
    pub fn shared_by(parts: usize) -> Self {
        Self(MESSAGE_BYTES / parts.max(1))
    }

    /// Those pieces that there is room for, in order, and how many others there are.
    pub fn keep<T>(&mut self, pieces: impl IntoIterator<Item = T>, bytes_of: impl Fn(&T) -> usize) -> (Vec<T>, usize) {
        let (mut kept, mut left_out) = (Vec::new(), 0);
        for piece in pieces {
            match self.0.checked_sub(bytes_of(&piece) + FRAME_BYTES) {
                Some(left) => {
                    self.0 = left;
                    kept.push(piece);
                }
                None => left_out += 1,
            }
        }
        (kept, left_out)
    }
}

/// What a piece takes besides its own bytes: a key and a length.
const FRAME_BYTES: usize = 6;

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

/// The same, in pieces that a message has room for: a ResourceSpans that is larger comes as several, each with its resource and
/// the scopes of its spans. One span may be larger still.
pub fn pieces(otlp: &Bytes) -> Vec<Bytes> {
    resource_spans(otlp).into_iter().flat_map(split).collect()
}

/// ScopeSpans in a ResourceSpans, and Span in a ScopeSpans.
const CHILD: u32 = key_of(2, BYTES);

fn split(resource_spans: Bytes) -> Vec<Bytes> {
    if resource_spans.len() <= PART_BYTES {
        return vec![resource_spans];
    }
    let (head, scopes) = children(&resource_spans);
    let mut pieces = Vec::new();
    let mut piece = head.clone();
    for scope in scopes {
        let (scope_head, spans) = children(scope);
        // What is repeated is no more than what is new: a large resource makes pieces as large, not many.
        let room = PART_BYTES.max(2 * (head.len() + scope_head.len()));
        let mut scope_spans = scope_head.clone();
        for span in spans {
            if scope_spans.len() > scope_head.len() && piece.len() + scope_spans.len() + span.len() > room {
                put(&mut piece, &scope_spans);
                pieces.push(std::mem::replace(&mut piece, head.clone()).into());
                scope_spans.truncate(scope_head.len());
            }
            put(&mut scope_spans, span);
        }
        put(&mut piece, &scope_spans);
    }
    pieces.push(piece.into());
    pieces
}

/// Adds a child.
fn put(message: &mut Vec<u8>, child: &[u8]) {
    put_varint(message, CHILD.into());
    put_varint(message, child.len() as u64);
    message.extend_from_slice(child);
}

/// A message's other fields, and its children.
fn children(message: &[u8]) -> (Vec<u8>, Vec<&[u8]>) {
    let mut reader = Reader::new(message);
    let (mut head, mut children) = (Vec::new(), Vec::new());
    while let Some(field) = reader.field(CHILD) {
        match field {
            Field::Child(child) => children.push(child.rest),
            Field::Other(bytes) => head.extend_from_slice(bytes),
        }
    }
    (head, children)
}

#[cfg(test)]
mod tests {
    use opentelemetry_proto::tonic::{
        common::v1::InstrumentationScope,
        trace::v1::{ResourceSpans, ScopeSpans, Span, TracesData},
    };
    use prost::Message;

    use super::*;

    #[test]
    fn a_resource_with_many_spans_comes_in_pieces_that_say_the_same() {
        let span = |number: u8| Span { span_id: vec![number; 8], name: "x".repeat(PART_BYTES / 4), ..Span::default() };
        let scope = |name: &str, spans| ScopeSpans {
            scope: Some(InstrumentationScope { name: name.to_owned(), ..InstrumentationScope::default() }),
            spans,
            schema_url: "scope".to_owned(),
        };
        let scopes =
            vec![scope("a", (0..7).map(span).collect()), scope("b", vec![]), scope("c", vec![span(7), span(8)])];
        let small = ResourceSpans { schema_url: "small".to_owned(), ..ResourceSpans::default() };
        let large = ResourceSpans { scope_spans: scopes, schema_url: "large".to_owned(), ..ResourceSpans::default() };
        let otlp: Bytes = TracesData { resource_spans: vec![small.clone(), large.clone()] }.encode_to_vec().into();
        let pieces = pieces(&otlp);
        assert!(pieces.iter().all(|piece| piece.len() <= PART_BYTES), "{:?}", pieces.iter().map(Bytes::len));
        let mut pieces = pieces.into_iter().map(|piece| ResourceSpans::decode(piece).unwrap());
        assert_eq!(pieces.next().unwrap(), small);
        let mut together = ResourceSpans::default();
        for piece in pieces {
            together.schema_url = piece.schema_url;
            for scope in piece.scope_spans {
                match together.scope_spans.last_mut() {
                    Some(last) if last.scope == scope.scope => last.spans.extend(scope.spans),
                    _ => together.scope_spans.push(scope),
                }
            }
        }
        assert_eq!(together, large);
    }

    #[test]
    fn what_is_too_long_for_one_message_is_left_out_and_counted() {
        let texts = ["a", &"b".repeat(MESSAGE_BYTES), "c", &"d".repeat(MESSAGE_BYTES / 2)];
        let mut room = Room::shared_by(1);
        assert_eq!(room.keep(texts, |text| text.len()), (vec!["a", "c", texts[3]], 1));
        assert_eq!(room.keep([texts[3], "e"], |text| text.len()), (vec!["e"], 1));
        let (kept, left_out) = Room::shared_by(4).keep((0..1 << 20).map(|_| "name"), |name| name.len());
        assert_eq!((kept.len(), left_out), (MESSAGE_BYTES / 40, (1 << 20) - MESSAGE_BYTES / 40));
    }

    #[test]
    fn parts_are_full_and_nothing_is_lost() {
        let third = PART_BYTES / 3;
        let parts = cut([third, third, third, third, 2 * PART_BYTES, 1], |bytes| *bytes);
        assert_eq!(parts, [vec![third; 3], vec![third], vec![2 * PART_BYTES], vec![1]]);
        assert_eq!(cut([], |bytes: &usize| *bytes), [Vec::<usize>::new()]);
    }
}
