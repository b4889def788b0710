//! The disk as the log sees it: a small trait, so that tests can put one beneath it that loses, fails and fills up.

use std::any::Any;
use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// A file system. Paths are full paths. Every call blocks.
pub trait Disk: Send + Sync + 'static {
    /// Makes a file that must not exist yet, with `preallocate_bytes` zero bytes that the disk has room for; nothing is
    /// left behind when it fails. Neither the file nor its name is durable before [`DiskFile::sync_data`] and
    /// [`Disk::sync_dir`].
    fn create(&self, path: &Path, preallocate_bytes: u64) -> io::Result<Arc<dyn DiskFile>>;
    /// Opens a file for reading, and for writing if the file system can be written.
    fn open(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>>;
    /// The names in a folder, in no order.
    fn list(&self, dir: &Path) -> io::Result<Vec<String>>;
    /// The names of the folders in a folder, in no order.
    fn list_dirs(&self, dir: &Path) -> io::Result<Vec<String>>;
    /// Removes an empty folder.
    fn remove_dir(&self, dir: &Path) -> io::Result<()>;
    /// Makes a folder and those above it, durably.
    fn create_dir_all(&self, dir: &Path) -> io::Result<()>;
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    fn remove(&self, path: &Path) -> io::Result<()>;
    /// Makes the names in a folder durable.
    fn sync_dir(&self, dir: &Path) -> io::Result<()>;
    /// Takes an exclusive lock until the guard is dropped or the process ends; `WouldBlock` if another holds it.
    fn lock(&self, path: &Path) -> io::Result<Box<dyn Any + Send + Sync>>;
    /// Bytes that may still be written below a folder.
    fn free_bytes(&self, _dir: &Path) -> io::Result<u64> {
        Ok(u64::MAX)
    }
    /// How long a writer that works inline has to wait for a sync. A real disk takes its own time.
    fn simulated_sync(&self) -> Duration {
        Duration::ZERO
    }
}

/// An open file.
pub trait DiskFile: Send + Sync {
    /// Writes the buffers one after another, all of them or an error (after which any part may have been written).
    fn write_all_at(&self, bufs: &[&[u8]], offset: u64) -> io::Result<()>;
    /// Reads up to `buf.len()` bytes; 0 at the end of the file.
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize>;
    /// fdatasync: the bytes, and the length that it takes to find them.
    fn sync_data(&self) -> io::Result<()>;
    fn len(&self) -> io::Result<u64>;
    fn is_empty(&self) -> io::Result<bool> {
        Ok(self.len()? == 0)
    }
    /// Cuts the file, or extends it by zeros for which the disk may turn out to have no room.
    fn set_len(&self, len: u64) -> io::Result<()>;
    /// Extends the file to `len` by zeros for which the disk has room, as [`Disk::create`] does.
    fn preallocate(&self, len: u64) -> io::Result<()>;
}

/// Reads a small file. `NotFound` if there is none.
pub fn read_whole(disk: &dyn Disk, path: &Path) -> io::Result<Vec<u8>> {
    let file = disk.open(path)?;
    let mut bytes = vec![0; usize::try_from(file.len()?).map_err(io::Error::other)?];
    let read = read_full(&*file, &mut bytes, 0)?;
    bytes.truncate(read);
    Ok(bytes)
}

/// Puts `bytes` in place of a small file's content, durably and all or nothing, by way of `<path>.tmp`.
pub fn replace_whole(disk: &dyn Disk, path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut name = OsString::from(path.as_os_str());
    name.push(".tmp");
    let tmp = PathBuf::from(name);
    let file = match disk.create(&tmp, 0) {
        // A crash came between the creation and the renaming.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            disk.remove(&tmp)?;
            disk.create(&tmp, 0)?
        }
        made => made?,
    };
    file.write_all_at(&[bytes], 0)?;
    file.sync_data()?;
    disk.rename(&tmp, path)?;
    disk.sync_dir(path.parent().unwrap_or(Path::new(".")))
}

/// Reads until `buf` is full or the file ends; gives how much it was.
pub fn read_full(file: &dyn DiskFile, buf: &mut [u8], offset: u64) -> io::Result<usize> {
    let mut done = 0;
    while done < buf.len() {
        match file.read_at(&mut buf[done..], offset + done as u64) {
            Ok(0) => break,
            Ok(read) => done += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(done)
}

/// Whether the disk said that it is full.
pub(super) fn is_no_space(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}
