//! What goes wrong, and when.

use std::io;

use rustix::io::Errno;

/// A small random source: the same seed, the same numbers.
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Random {
        Random(seed)
    }

    /// The next number (SplitMix64: Steele, Lea, Flood, "Fast splittable pseudorandom number generators", 2014).
    pub fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    /// A number below `limit`, or 0.
    pub fn below(&mut self, limit: u64) -> u64 {
        self.number().checked_rem(limit).unwrap_or(0)
    }
}

pub(super) struct Faults {
    pub(super) crash_at: Option<u64>,
    pub(super) fail_sync_at: Option<u64>,
    pub(super) fail_write_at: Option<u64>,
    pub(super) fail_create_at: Option<(u64, Errno)>,
    pub(super) capacity: u64,
    pub(super) sparse: bool,
    pub(super) read_only: bool,
    /// The crash has come: everything fails until the disk is started again.
    pub(super) down: bool,
    pub(super) changes: u64,
    pub(super) file_syncs: u64,
    pub(super) writes: u64,
}

impl Default for Faults {
    fn default() -> Faults {
        Faults {
            crash_at: None,
            fail_sync_at: None,
            fail_write_at: None,
            fail_create_at: None,
            capacity: u64::MAX,
            sparse: false,
            read_only: false,
            down: false,
            changes: 0,
            file_syncs: 0,
            writes: 0,
        }
    }
}

impl Faults {
    /// Capacity and read-only are the disk's, and stay.
    pub(super) fn forget(&mut self) {
        self.crash_at = None;
        self.fail_sync_at = None;
        self.fail_write_at = None;
        self.fail_create_at = None;
        self.down = false;
    }

    pub(super) fn check(&self) -> io::Result<()> {
        if self.down { Err(io::Error::other("the simulated machine has crashed")) } else { Ok(()) }
    }

    pub(super) fn on_change(&mut self) -> io::Result<()> {
        self.changes += 1;
        self.down |= hits(&mut self.crash_at);
        self.check()?;
        if self.read_only { Err(Errno::ROFS.into()) } else { Ok(()) }
    }

    pub(super) fn on_create(&mut self) -> io::Result<()> {
        self.on_change()?;
        let Some((n, errno)) = self.fail_create_at.take() else { return Ok(()) };
        if n <= 1 {
            return Err(errno.into());
        }
        self.fail_create_at = Some((n - 1, errno));
        Ok(())
    }

    pub(super) fn on_write(&mut self) -> io::Result<()> {
        self.writes += 1;
        self.on_change()?;
        if hits(&mut self.fail_write_at) { Err(Errno::IO.into()) } else { Ok(()) }
    }

    pub(super) fn on_sync(&mut self) -> io::Result<()> {
        self.on_change()?;
        if hits(&mut self.fail_sync_at) { Err(Errno::IO.into()) } else { Ok(()) }
    }
}

/// Counts down, and tells when it is time.
fn hits(countdown: &mut Option<u64>) -> bool {
    match *countdown {
        Some(n) if n <= 1 => {
            *countdown = None;
            true
        }
        Some(n) => {
            *countdown = Some(n - 1);
            false
        }
        None => false,
    }
}
