//! Counts and checks what is written.

use std::io::{self, Write};

use crate::block::meta::{File, Tail};

/// Passes bytes on, and knows how many they were and their CRC-32C.
pub struct Checked<W> {
    to: Option<W>,
    bytes: u64,
    crc32c: u32,
    tail: Option<Tail>,
}

impl<W: Write> Checked<W> {
    pub fn new(to: W) -> Self {
        Self { to: Some(to), bytes: 0, crc32c: 0, tail: None }
    }

    /// What comes from now on is the file's tail.
    pub fn begin_tail(&mut self) {
        self.tail = Some(Tail { bytes: 0, crc32c: 0 });
    }

    /// What the bytes went to, and what they were. None the second time.
    pub fn take(&mut self) -> Option<(File, W)> {
        let to = self.to.take()?;
        Some((File { bytes: self.bytes, crc32c: self.crc32c, tail: self.tail }, to))
    }
}

impl<W: Write> Write for Checked<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let Some(to) = &mut self.to else { return Err(io::ErrorKind::BrokenPipe.into()) };
        let count = to.write(bytes)?;
        let written = &bytes[..count];
        self.bytes += count as u64;
        self.crc32c = crc32c::crc32c_append(self.crc32c, written);
        if let Some(tail) = &mut self.tail {
            tail.bytes += count as u64;
            tail.crc32c = crc32c::crc32c_append(tail.crc32c, written);
        }
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.to.as_mut().map_or(Ok(()), Write::flush)
    }
}
