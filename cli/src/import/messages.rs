//! Takes files apart into OTLP messages. No more of a file is in memory than one of them.

use std::io::{BufRead, Read};

use clew_common::otlp::json;

use super::error::{ReadError, What};

/// A message has no more bytes, nor has a line. The largest request that Clew takes unless told otherwise has 64 MiB, and JSON
/// writes a byte as six at most.
pub(crate) const MAX_BYTES: usize = 512 << 20;

/// Gives each line as protobuf, with its place.
///
/// # Errors
/// When a line cannot be read or is not OTLP JSON, and those of `each`.
pub(crate) fn lines(
    bytes: &mut impl BufRead,
    name: &str,
    max: usize,
    mut each: impl FnMut(&[u8], &str) -> Result<(), ReadError>,
) -> Result<(), ReadError> {
    let mut line = Vec::new();
    for number in 1u64.. {
        let place = format!("{name}, line {number}");
        line.clear();
        // One more than is allowed, and the line's end.
        let read = bytes.by_ref().take(max as u64 + 2).read_until(b'\n', &mut line);
        if read.map_err(|error| What::Read(error).at(&place))? == 0 {
            break;
        }
        let ended = line.pop_if(|last| *last == b'\n').is_some();
        if line.len() > max {
            return Err(What::TooLong { max }.at(place));
        }
        if line.trim_ascii().is_empty() {
            continue;
        }
        let message = json::to_protobuf(&line).map_err(|error| What::Json { error, ended }.at(&place))?;
        each(&message, &place)?;
    }
    Ok(())
}

/// Gives each message, with its place. `guessed`: nobody said that they are messages.
///
/// # Errors
/// When the file ends within a message or a length is none, and those of `each`.
pub(crate) fn delimited(
    bytes: &mut impl BufRead,
    name: &str,
    max: usize,
    guessed: bool,
    mut each: impl FnMut(&[u8], &str, bool) -> Result<(), ReadError>,
) -> Result<(), ReadError> {
    let mut message = Vec::new();
    let mut at = 0u64;
    loop {
        let place = format!("{name}, byte {at}");
        // Past the first message it is no guess any more.
        let guessed = guessed && at == 0;
        let Some((said, length)) = length(bytes, &place, guessed)? else { return Ok(()) };
        if said > max as u64 {
            let what = if guessed { What::Length { guessed } } else { What::TooLong { max } };
            return Err(what.at(place));
        }
        message.clear();
        // It grows as bytes come: a length that is a lie costs nothing.
        let read = bytes.by_ref().take(said).read_to_end(&mut message);
        let found = read.map_err(|error| What::Read(error).at(&place))? as u64;
        if found < said {
            return Err(What::Cut { said, found, guessed }.at(place));
        }
        each(&message, &place, guessed)?;
        at += length + said;
    }
}

/// A varint and how many bytes it has; None at the end.
fn length(bytes: &mut impl BufRead, place: &str, guessed: bool) -> Result<Option<(u64, u64)>, ReadError> {
    let mut value = 0;
    for at in 0..10 {
        let next = bytes.by_ref().bytes().next().transpose().map_err(|error| What::Read(error).at(place))?;
        let Some(byte) = next else {
            return if at == 0 { Ok(None) } else { Err(What::Cut { said: value, found: 0, guessed }.at(place)) };
        };
        if at == 9 && byte > 1 {
            break;
        }
        value |= u64::from(byte & 0x7F) << (7 * at);
        if byte < 0x80 {
            return Ok(Some((value, at + 1)));
        }
    }
    Err(What::Length { guessed }.at(place))
}
