//! Buffers that are used again. A lookup reads and inflates dozens of pages, each for a moment: to find room for them took the
//! allocator a sixth of its time.

use std::{
    cell::RefCell,
    ops::{Deref, DerefMut},
};

use bytes::Bytes;

/// A buffer of this thread, empty at first. It goes back when it is dropped: what is kept longer than a page is looked at should have
/// bytes of its own.
pub struct Scratch(Vec<u8>);

/// Room that each has.
const LEAST_BYTES: usize = 128 << 10;
/// Buffers that a thread keeps, and the most that one of them may have grown to.
const MOST: usize = 4;
const MOST_BYTES: usize = 1 << 20;

thread_local! {
    static FREE: RefCell<Vec<Vec<u8>>> = const { RefCell::new(Vec::new()) };
}

impl Scratch {
    /// One with room for so many bytes.
    pub fn with_room(bytes: usize) -> Self {
        let mut buffer = FREE.with_borrow_mut(Vec::pop).unwrap_or_default();
        buffer.reserve(bytes.max(LEAST_BYTES));
        Self(buffer)
    }

    /// What it holds; it goes back when nobody has that any more.
    pub fn into_bytes(self) -> Bytes {
        Bytes::from_owner(self)
    }
}

impl AsRef<[u8]> for Scratch {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl Deref for Scratch {
    type Target = Vec<u8>;

    fn deref(&self) -> &Vec<u8> {
        &self.0
    }
}

impl DerefMut for Scratch {
    fn deref_mut(&mut self) -> &mut Vec<u8> {
        &mut self.0
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let mut buffer = std::mem::take(&mut self.0);
        if buffer.capacity() <= MOST_BYTES {
            buffer.clear();
            // A thread that ends has none any more.
            let _ = FREE.try_with(|free| {
                let mut free = free.borrow_mut();
                if free.len() < MOST {
                    free.push(buffer);
                }
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_comes_back_empty_once_nobody_has_its_bytes_and_a_large_one_does_not() {
        let mut scratch = Scratch::with_room(10);
        scratch.extend_from_slice(b"page");
        let place = scratch.as_ptr();
        let bytes = scratch.into_bytes();
        let part = bytes.slice(1..3);
        drop(bytes);
        assert_ne!(Scratch::with_room(1).as_ptr(), place, "somebody has a part of it");
        assert_eq!(&part[..], b"ag");
        drop(part);
        let again = Scratch::with_room(1);
        assert!(again.is_empty());
        assert_eq!(again.as_ptr(), place);
        let large = Scratch::with_room(MOST_BYTES + 1);
        drop(large);
        assert!(FREE.with_borrow(|free| free.iter().all(|buffer| buffer.capacity() <= MOST_BYTES)));
    }
}
