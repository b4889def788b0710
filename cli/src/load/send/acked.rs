//! Which requests of a corpus were acknowledged: a text file of their indices, one a line, in the order of the acks.
//!
//! Each line is written at once when its ack arrives, so that the file is right even if the sender is killed; a last
//! line without its line feed does not count.

use std::{
    fs::{File, OpenOptions},
    io::{self, Write},
    path::Path,
};

use crate::load::corpus::FileError;

/// A set of request indices.
#[derive(Debug, Clone, Default)]
pub(crate) struct Acked {
    words: Vec<u64>,
    count: u64,
}

impl Acked {
    /// Reads the file; one that does not exist names no request.
    pub(crate) fn read(path: &Path) -> Result<Self, FileError> {
        let text = match std::fs::read(path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Self::default()),
            Err(error) => return Err(FileError::Io { path: path.to_owned(), error }),
        };
        let whole = text.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
        let mut acked = Self::default();
        let mut offset = 0;
        for line in text[..whole].split_inclusive(|byte| *byte == b'\n') {
            let index = str::from_utf8(line).ok().and_then(|line| line.trim_ascii().parse().ok());
            let damaged = || FileError::Damaged { path: path.to_owned(), offset, reason: "not the index of a request" };
            acked.insert(index.ok_or_else(damaged)?);
            offset += line.len() as u64;
        }
        Ok(acked)
    }

    fn insert(&mut self, index: u32) {
        let (word, bit) = (index as usize / 64, 1 << (index % 64));
        if self.words.len() <= word {
            self.words.resize(word + 1, 0);
        }
        self.count += u64::from(self.words[word] & bit == 0);
        self.words[word] |= bit;
    }

    /// Whether this request is in the set.
    pub(crate) fn contains(&self, index: u32) -> bool {
        self.words.get(index as usize / 64).is_some_and(|word| word >> (index % 64) & 1 == 1)
    }

    /// How many are.
    pub(crate) fn len(&self) -> u64 {
        self.count
    }
}

/// Appends to the file.
#[derive(Debug)]
pub(crate) struct AckedWriter {
    file: File,
}

impl AckedWriter {
    /// Opens the file, or creates it. A torn last line is cut off by ending it first: it was never whole.
    pub(crate) fn open(path: &Path) -> Result<Self, FileError> {
        let read = std::fs::read(path).unwrap_or_default();
        let whole = read.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
        let file = OpenOptions::new().append(true).create(true).open(path).map_err(FileError::io(path))?;
        file.set_len(whole as u64).map_err(FileError::io(path))?;
        Ok(Self { file })
    }

    /// One more. A single write, so that a line is there or not.
    pub(crate) fn add(&mut self, index: u32) -> io::Result<()> {
        self.file.write_all(format!("{index}\n").as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_torn_last_line_does_not_count_and_is_cut_off() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("acked");
        assert_eq!(Acked::read(&path).unwrap().len(), 0);
        std::fs::write(&path, "0\n70\n0\n12").unwrap();
        let acked = Acked::read(&path).unwrap();
        assert_eq!(acked.len(), 2);
        assert!(acked.contains(0) && acked.contains(70) && !acked.contains(12) && !acked.contains(1));
        AckedWriter::open(&path).unwrap().add(5).unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "0\n70\n0\n5\n");
    }

    #[test]
    fn a_line_that_is_no_number_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("acked");
        std::fs::write(&path, "0\nx\n").unwrap();
        assert!(Acked::read(&path).unwrap_err().to_string().contains("at byte 2"));
    }
}
