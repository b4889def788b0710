//! Parquet's encodings, as far as blocks use them: each appends to `out`.
//!
//! <https://github.com/apache/parquet-format/blob/master/Encodings.md>

/// So many equal values in a row become an RLE run; fewer are bit-packed with their neighbours.
const MIN_RUN: usize = 16;

/// Appends an unsigned LEB128.
pub fn varint(mut value: u64, out: &mut Vec<u8>) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Zigzag, then LEB128.
pub fn zigzag(value: i64, out: &mut Vec<u8>) {
    varint(((value << 1) ^ (value >> 63)) as u64, out);
}

/// The bits that the largest value takes.
pub fn width_of(max: u64) -> u8 {
    (64 - max.leading_zeros()) as u8
}

/// The hybrid of run lengths and bit-packing, `width` bits a value. Values must fit the width.
pub fn hybrid<T: Copy + PartialEq + Into<u64>>(values: &[T], width: u8, out: &mut Vec<u8>) {
    if width == 0 {
        // Nothing to say but how many.
        varint((values.len() as u64) << 1, out);
        return;
    }
    let (mut packed, mut at) = (0usize, 0);
    while at < values.len() {
        let run = run_length(&values[at..]);
        // Bit-packed groups hold eight values, so a run lends some to fill the last one.
        let lent = (packed.next_multiple_of(8) - packed).min(run);
        if run - lent >= MIN_RUN {
            bit_pack(&values[at - packed..at + lent], width, out);
            at += lent;
            let run = run - lent;
            varint((run as u64) << 1, out);
            out.extend_from_slice(&values[at].into().to_le_bytes()[..usize::from(width).div_ceil(8)]);
            at += run;
            packed = 0;
        } else {
            at += run;
            packed += run;
        }
    }
    bit_pack(&values[values.len() - packed..], width, out);
}

fn run_length<T: Copy + PartialEq>(values: &[T]) -> usize {
    let first = values[0];
    values.iter().position(|value| *value != first).unwrap_or(values.len())
}

/// One bit-packed run, padded with zeros to a multiple of eight values.
fn bit_pack<T: Copy + Into<u64>>(values: &[T], width: u8, out: &mut Vec<u8>) {
    if values.is_empty() {
        return;
    }
    let groups = values.len().div_ceil(8);
    varint((groups as u64) << 1 | 1, out);
    let end = out.len() + groups * usize::from(width);
    match width {
        8 => out.extend(values.iter().map(|value| (*value).into() as u8)),
        16 => values.iter().for_each(|value| out.extend_from_slice(&((*value).into() as u16).to_le_bytes())),
        _ => {
            let (mut word, mut bits) = (0u128, 0u32);
            for value in values {
                word |= u128::from((*value).into()) << bits;
                bits += u32::from(width);
                if bits >= 64 {
                    out.extend_from_slice(&(word as u64).to_le_bytes());
                    word >>= 64;
                    bits -= 64;
                }
            }
            out.extend_from_slice(&(word as u64).to_le_bytes()[..bits.div_ceil(8) as usize]);
        }
    }
    out.resize(end, 0);
}

/// The hybrid for one bit a value: a bitmap is bit-packed already.
///
/// `bits` starts with the first value's bit; bits past `count` are not looked at.
pub fn hybrid_bits(bits: &[u8], count: usize, out: &mut Vec<u8>) {
    /// An RLE run takes two to four bytes, and one more where it splits a bit-packed run.
    const MIN_RUN_BYTES: usize = 6;
    let whole = &bits[..count / 8];
    let (mut packed, mut at) = (0usize, 0);
    let flush = |packed: usize, at: usize, out: &mut Vec<u8>| {
        if packed > 0 {
            varint((packed as u64) << 1 | 1, out);
            out.extend_from_slice(&bits[at - packed..at]);
        }
    };
    while at < whole.len() {
        let byte = whole[at];
        let constant = byte == 0 || byte == 0xff;
        let run = if constant { run_length(&whole[at..]) } else { 1 };
        if !constant || run < MIN_RUN_BYTES && run < whole.len() {
            packed += run;
            at += run;
            continue;
        }
        flush(packed, at, out);
        packed = 0;
        at += run;
        let mut length = run * 8;
        // The last few values continue the run.
        let rest = count % 8;
        if at == whole.len() && rest > 0 && (bits[at] ^ byte) & ((1 << rest) - 1) == 0 {
            length += rest;
            varint((length as u64) << 1, out);
            out.push(byte & 1);
            return;
        }
        varint((length as u64) << 1, out);
        out.push(byte & 1);
    }
    if !count.is_multiple_of(8) {
        packed += 1;
        at += 1;
    }
    flush(packed, at, out);
}

/// BYTE_STREAM_SPLIT: all first bytes, then all second bytes.
pub fn byte_stream_split<const N: usize>(values: &[[u8; N]], out: &mut Vec<u8>) {
    let start = out.len();
    out.resize(start + values.len() * N, 0);
    if values.is_empty() {
        return;
    }
    for (byte, stream) in out[start..].chunks_exact_mut(values.len()).enumerate() {
        for (to, value) in stream.iter_mut().zip(values) {
            *to = value[byte];
        }
    }
}

/// PLAIN, of byte arrays.
pub fn plain_strings(values: &[&[u8]], out: &mut Vec<u8>) {
    for value in values {
        out.extend_from_slice(&(value.len() as u32).to_le_bytes());
        out.extend_from_slice(value);
    }
}
