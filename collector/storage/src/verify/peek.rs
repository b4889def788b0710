//! A disk that is only looked at: what is written to it goes nowhere.

use std::{any::Any, io, path::Path, sync::Arc};

use clew_common::log::{Disk, DiskFile};

/// Reads another disk; whatever would change it does nothing. A log opened on it makes sense of its folder without
/// touching it, and takes no lock.
pub struct Peek(pub Arc<dyn Disk>);

struct PeekFile(Option<Arc<dyn DiskFile>>);

impl Disk for Peek {
    fn create(&self, _: &Path, _: u64) -> io::Result<Arc<dyn DiskFile>> {
        Ok(Arc::new(PeekFile(None)))
    }

    fn open(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        Ok(Arc::new(PeekFile(Some(self.0.open(path)?))))
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        self.0.list(dir)
    }

    fn list_dirs(&self, dir: &Path) -> io::Result<Vec<String>> {
        self.0.list_dirs(dir)
    }

    fn remove_dir(&self, _: &Path) -> io::Result<()> {
        Ok(())
    }

    fn create_dir_all(&self, _: &Path) -> io::Result<()> {
        Ok(())
    }

    fn rename(&self, _: &Path, _: &Path) -> io::Result<()> {
        Ok(())
    }

    fn remove(&self, _: &Path) -> io::Result<()> {
        Ok(())
    }

    fn sync_dir(&self, _: &Path) -> io::Result<()> {
        Ok(())
    }

    fn lock(&self, _: &Path) -> io::Result<Box<dyn Any + Send + Sync>> {
        Ok(Box::new(()))
    }
}

impl DiskFile for PeekFile {
    fn write_all_at(&self, _: &[&[u8]], _: u64) -> io::Result<()> {
        Ok(())
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        self.0.as_ref().map_or(Ok(0), |file| file.read_at(buf, offset))
    }

    fn sync_data(&self) -> io::Result<()> {
        Ok(())
    }

    fn len(&self) -> io::Result<u64> {
        self.0.as_ref().map_or(Ok(0), |file| file.len())
    }

    fn set_len(&self, _: u64) -> io::Result<()> {
        Ok(())
    }

    fn preallocate(&self, _: u64) -> io::Result<()> {
        Ok(())
    }
}
