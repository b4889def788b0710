//! A disk in memory, for tests: it knows what was synced and what was not, loses the rest in a crash as real disks do, and
//! fails when told to. Everything it does follows from its calls and the seed given to [`SimDisk::crash`].

mod fault;
mod inode;

use std::any::Any;
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use rustix::io::Errno;

use super::disk::{Disk, DiskFile};
use fault::Faults;
pub use fault::Random;
use inode::Inode;

/// The disk. Clones are the same disk.
#[derive(Clone, Default)]
pub struct SimDisk {
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    inodes: BTreeMap<u64, Inode>,
    last_inode: u64,
    dirs: BTreeSet<PathBuf>,
    /// Names as they are seen, and as a crash leaves them at least.
    names: BTreeMap<PathBuf, u64>,
    synced_names: BTreeMap<PathBuf, u64>,
    /// What was done to names since their folder was last synced.
    unsynced_names: Vec<NameChange>,
    locks: BTreeSet<PathBuf>,
    /// Counts crashes: what was opened before one fails after it.
    epoch: u64,
    faults: Faults,
    sync_delay: Duration,
    simulated_sync: Duration,
}

#[derive(Clone)]
enum NameChange {
    Add(PathBuf, u64),
    Remove(PathBuf),
    Rename(PathBuf, PathBuf, u64),
}

impl NameChange {
    fn dir(&self) -> Option<&Path> {
        match self {
            NameChange::Add(path, _) | NameChange::Remove(path) | NameChange::Rename(_, path, _) => path.parent(),
        }
    }

    fn apply(&self, names: &mut BTreeMap<PathBuf, u64>) {
        match self {
            NameChange::Add(path, inode) => {
                names.insert(path.clone(), *inode);
            }
            NameChange::Remove(path) => {
                names.remove(path);
            }
            NameChange::Rename(from, to, inode) => {
                names.remove(from);
                names.insert(to.clone(), *inode);
            }
        }
    }
}

impl SimDisk {
    pub fn new() -> SimDisk {
        SimDisk::default()
    }

    /// The power goes: of what was not synced, any part survives, in any order (bytes by sectors of 512). Locks are
    /// released, open files fail from now on, faults that were to come are forgotten (capacity and read-only stay), and the
    /// disk works again. The same seed after the same calls leaves the same bytes.
    pub fn crash(&self, seed: u64) {
        let mut state = self.state.lock();
        let state = &mut *state;
        let mut random = Random::new(seed);
        let mut names = std::mem::take(&mut state.synced_names);
        for change in state.unsynced_names.drain(..) {
            if random.below(2) == 0 {
                change.apply(&mut names);
            }
        }
        let live: BTreeSet<u64> = names.values().copied().collect();
        state.inodes.retain(|number, _| live.contains(number));
        for inode in state.inodes.values_mut() {
            inode.crash(&mut random);
        }
        state.names = names.clone();
        state.synced_names = names;
        state.restart();
    }

    /// The process ends, and the system goes on: nothing is lost, but locks are released and open files fail.
    pub fn kill(&self) {
        self.state.lock().restart();
    }

    /// The `n`-th change from now on (1 is the next: a creation, write, sync, cut, renaming or removal) and everything
    /// after it fails, until [`SimDisk::crash`]. What a write that fails so has written is up to the crash.
    pub fn crash_at(&self, n: u64) {
        self.state.lock().faults.crash_at = Some(n);
    }

    /// The `n`-th sync from now on (1 is the next; of a file or a folder) fails, and what it should have synced never
    /// becomes durable, whatever later syncs say: so do Linux's file systems.
    pub fn fail_sync_at(&self, n: u64) {
        self.state.lock().faults.fail_sync_at = Some(n);
    }

    /// The `n`-th write from now on (1 is the next) writes a part and fails with EIO.
    pub fn fail_write_at(&self, n: u64) {
        self.state.lock().faults.fail_write_at = Some(n);
    }

    /// The `n`-th creation of a file from now on (1 is the next) fails with this error code.
    pub fn fail_create_at(&self, n: u64, errno: Errno) {
        self.state.lock().faults.fail_create_at = Some((n, errno));
    }

    /// Reading any of these bytes of a file fails with EIO; an empty range heals it.
    pub fn set_unreadable(&self, path: &Path, bytes: std::ops::Range<u64>) {
        self.with(path, |inode| inode.unreadable = bytes);
    }

    /// All files together may take this much; a part of a write that passes it is written. `u64::MAX` is the default.
    pub fn set_capacity(&self, bytes: u64) {
        self.state.lock().faults.capacity = bytes;
    }

    /// Whether preallocating sets room aside (the default). Otherwise it only makes the file longer, and writes find out.
    pub fn set_preallocation(&self, works: bool) {
        self.state.lock().faults.sparse = !works;
    }

    /// Every change fails with EROFS, or no longer.
    pub fn set_read_only(&self, read_only: bool) {
        self.state.lock().faults.read_only = read_only;
    }

    /// Every sync of a file takes this long, by sleeping in the calling thread: for real threads only.
    pub fn set_sync_delay(&self, delay: Duration) {
        self.state.lock().sync_delay = delay;
    }

    /// A writer that works inline waits this long, of tokio's time, before a sync: what is acked too early can then be lost.
    pub fn set_simulated_sync(&self, takes: Duration) {
        self.state.lock().simulated_sync = takes;
    }

    /// Turns one bit over, durably. Nothing happens past the end or without the file.
    pub fn flip(&self, path: &Path, byte: u64, bit: u8) {
        self.with(path, |inode| inode.flip(byte, bit));
    }

    /// Syncs of files so far, failed ones included.
    pub fn file_syncs(&self) -> u64 {
        self.state.lock().faults.file_syncs
    }

    /// Writes so far, failed ones included.
    pub fn writes(&self) -> u64 {
        self.state.lock().faults.writes
    }

    /// Changes so far, as [`SimDisk::crash_at`] counts them.
    pub fn changes(&self) -> u64 {
        self.state.lock().faults.changes
    }

    /// Whether the crash that [`SimDisk::crash_at`] asked for has come.
    pub fn is_down(&self) -> bool {
        self.state.lock().faults.down
    }

    fn with(&self, path: &Path, change: impl FnOnce(&mut Inode)) {
        let mut state = self.state.lock();
        let number = state.names.get(path).copied();
        if let Some(inode) = number.and_then(|number| state.inodes.get_mut(&number)) {
            change(inode);
        }
    }
}

impl State {
    fn restart(&mut self) {
        self.locks.clear();
        self.epoch += 1;
        self.inodes.values_mut().for_each(|inode| inode.handles = 0);
        self.faults.forget();
    }

    fn used(&self) -> u64 {
        self.inodes.values().map(|inode| inode.disk_bytes(self.faults.sparse)).sum()
    }

    fn number(&self, path: &Path) -> io::Result<u64> {
        self.names.get(path).copied().ok_or_else(|| io::Error::from(Errno::NOENT))
    }

    fn handle(&mut self, disk: &SimDisk, number: u64) -> Arc<SimFile> {
        if let Some(inode) = self.inodes.get_mut(&number) {
            inode.handles += 1;
        }
        Arc::new(SimFile { disk: disk.clone(), number, epoch: self.epoch })
    }

    fn rename(&mut self, change: NameChange) {
        change.apply(&mut self.names);
        self.unsynced_names.push(change);
    }
}

impl Disk for SimDisk {
    fn free_bytes(&self, _: &Path) -> io::Result<u64> {
        let state = self.state.lock();
        Ok(state.faults.capacity.saturating_sub(state.used()))
    }

    fn simulated_sync(&self) -> Duration {
        self.state.lock().simulated_sync
    }

    fn create(&self, path: &Path, preallocate_bytes: u64) -> io::Result<Arc<dyn DiskFile>> {
        let mut state = self.state.lock();
        state.faults.on_create()?;
        if path.parent().is_some_and(|dir| !state.dirs.contains(dir)) {
            return Err(Errno::NOENT.into());
        }
        if state.names.contains_key(path) {
            return Err(Errno::EXIST.into());
        }
        if !state.faults.sparse && state.used() + preallocate_bytes > state.faults.capacity {
            return Err(Errno::NOSPC.into());
        }
        state.last_inode += 1;
        let number = state.last_inode;
        let mut inode = Inode::default();
        inode.set_len(preallocate_bytes);
        state.inodes.insert(number, inode);
        state.rename(NameChange::Add(path.to_owned(), number));
        Ok(state.handle(self, number))
    }

    fn open(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        let mut state = self.state.lock();
        state.faults.check()?;
        let number = state.number(path)?;
        Ok(state.handle(self, number))
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        let state = self.state.lock();
        state.faults.check()?;
        if !state.dirs.contains(dir) {
            return Err(Errno::NOENT.into());
        }
        let inside = state.names.keys().filter(|path| path.parent() == Some(dir));
        Ok(inside.filter_map(|path| path.file_name()?.to_str().map(str::to_owned)).collect())
    }

    fn list_dirs(&self, dir: &Path) -> io::Result<Vec<String>> {
        let state = self.state.lock();
        state.faults.check()?;
        if !state.dirs.contains(dir) {
            return Err(Errno::NOENT.into());
        }
        let inside = state.dirs.iter().filter(|path| path.parent() == Some(dir));
        Ok(inside.filter_map(|path| path.file_name()?.to_str().map(str::to_owned)).collect())
    }

    fn remove_dir(&self, dir: &Path) -> io::Result<()> {
        let mut state = self.state.lock();
        state.faults.on_change()?;
        let is_inside = |path: &Path| path.parent() == Some(dir);
        if state.names.keys().any(|path| is_inside(path)) || state.dirs.iter().any(|path| is_inside(path)) {
            return Err(Errno::NOTEMPTY.into());
        }
        if state.dirs.remove(dir) { Ok(()) } else { Err(Errno::NOENT.into()) }
    }

    fn create_dir_all(&self, dir: &Path) -> io::Result<()> {
        let mut state = self.state.lock();
        if state.dirs.contains(dir) {
            return state.faults.check();
        }
        state.faults.on_change()?;
        state.dirs.extend(dir.ancestors().map(Path::to_owned));
        Ok(())
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut state = self.state.lock();
        state.faults.on_change()?;
        let number = state.number(from)?;
        state.rename(NameChange::Rename(from.to_owned(), to.to_owned(), number));
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut state = self.state.lock();
        state.faults.on_change()?;
        state.number(path)?;
        state.rename(NameChange::Remove(path.to_owned()));
        Ok(())
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        let mut state = self.state.lock();
        let state = &mut *state;
        if !state.dirs.contains(dir) {
            return Err(Errno::NOENT.into());
        }
        let synced = state.faults.on_sync();
        let (here, elsewhere) = state.unsynced_names.drain(..).partition(|change| change.dir() == Some(dir));
        state.unsynced_names = elsewhere;
        match synced {
            Ok(()) => {
                let here: Vec<NameChange> = here;
                here.iter().for_each(|change| change.apply(&mut state.synced_names));
                state.forget_unnamed();
                Ok(())
            }
            Err(error) => {
                if state.faults.down {
                    state.unsynced_names.extend(here);
                }
                Err(error)
            }
        }
    }

    fn lock(&self, path: &Path) -> io::Result<Box<dyn Any + Send + Sync>> {
        let mut state = self.state.lock();
        state.faults.check()?;
        if state.faults.read_only {
            return Err(Errno::ROFS.into());
        }
        if !state.locks.insert(path.to_owned()) {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        Ok(Box::new(Lock { disk: self.clone(), path: path.to_owned(), epoch: state.epoch }))
    }
}

impl State {
    /// Frees the space of files that have no name any more and that nobody has open.
    fn forget_unnamed(&mut self) {
        let mut live: BTreeSet<u64> = self.names.values().chain(self.synced_names.values()).copied().collect();
        live.extend(self.unsynced_names.iter().filter_map(|change| match change {
            NameChange::Add(_, number) | NameChange::Rename(_, _, number) => Some(*number),
            NameChange::Remove(_) => None,
        }));
        self.inodes.retain(|number, inode| inode.handles > 0 || live.contains(number));
    }
}

struct Lock {
    disk: SimDisk,
    path: PathBuf,
    epoch: u64,
}

impl Drop for Lock {
    fn drop(&mut self) {
        let mut state = self.disk.state.lock();
        if state.epoch == self.epoch {
            state.locks.remove(&self.path);
        }
    }
}

struct SimFile {
    disk: SimDisk,
    number: u64,
    epoch: u64,
}

impl Drop for SimFile {
    fn drop(&mut self) {
        let mut state = self.disk.state.lock();
        if state.epoch != self.epoch {
            return;
        }
        if let Some(inode) = state.inodes.get_mut(&self.number) {
            inode.handles -= 1;
            if inode.handles == 0 {
                state.forget_unnamed();
            }
        }
    }
}

impl SimFile {
    fn with<T>(&self, state: &mut State, f: impl FnOnce(&mut Inode) -> T) -> io::Result<T> {
        if state.epoch != self.epoch {
            return Err(io::Error::other("the file was opened before the crash"));
        }
        state.inodes.get_mut(&self.number).map(f).ok_or_else(|| Errno::NOENT.into())
    }

    /// Makes a file longer, with room set aside or without.
    fn extend(&self, len: u64, preallocate: bool) -> io::Result<()> {
        let mut state = self.disk.state.lock();
        state.faults.on_change()?;
        let before = self.with(&mut state, |inode| inode.len())?;
        let reserve = preallocate && !state.faults.sparse;
        if reserve && state.used() + len.saturating_sub(before) > state.faults.capacity {
            return Err(Errno::NOSPC.into());
        }
        self.with(&mut state, |inode| inode.set_len(if preallocate { len.max(before) } else { len }))
    }
}

impl DiskFile for SimFile {
    fn write_all_at(&self, bufs: &[&[u8]], offset: u64) -> io::Result<()> {
        let mut state = self.disk.state.lock();
        let bytes = bufs.concat();
        if let Err(error) = state.faults.on_write() {
            // Also what comes from a crash: how much of it there is then is decided there.
            let part = if state.faults.down { bytes.len() } else { bytes.len() / 2 };
            if !state.faults.read_only {
                self.with(&mut state, |inode| inode.write(&bytes[..part], offset))?;
            }
            return Err(error);
        }
        let (used, sparse) = (state.used(), state.faults.sparse);
        let free = state.faults.capacity.saturating_sub(used);
        let fits = self.with(&mut state, |inode| inode.fits(offset, bytes.len(), free, sparse))?;
        self.with(&mut state, |inode| inode.write(&bytes[..fits], offset))?;
        if fits < bytes.len() { Err(Errno::NOSPC.into()) } else { Ok(()) }
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        let mut state = self.disk.state.lock();
        state.faults.check()?;
        self.with(&mut state, |inode| inode.read(buf, offset))?
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut state = self.disk.state.lock();
        state.faults.file_syncs += 1;
        let synced = state.faults.on_sync();
        let down = state.faults.down;
        let delay = state.sync_delay;
        self.with(&mut state, |inode| match &synced {
            Ok(()) => inode.sync(),
            Err(_) if down => {}
            Err(_) => inode.lose(),
        })?;
        drop(state);
        if !delay.is_zero() {
            std::thread::sleep(delay);
        }
        synced
    }

    fn len(&self) -> io::Result<u64> {
        let mut state = self.disk.state.lock();
        state.faults.check()?;
        self.with(&mut state, |inode| inode.len())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.extend(len, false)
    }

    fn preallocate(&self, len: u64) -> io::Result<()> {
        self.extend(len, true)
    }
}
