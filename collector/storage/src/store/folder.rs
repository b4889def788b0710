//! A store in a folder of a file system.

use std::{
    io::{self, ErrorKind},
    ops::Range,
    path::{Path, PathBuf},
    sync::Arc,
};

use bytes::Bytes;
use clew_common::{
    ids::Tenant,
    log::{Disk, DiskFile, read_full},
};

use super::{Listed, Sink, Source, Store, StoreError};

/// A folder. Files are durable, with their names, once they are put.
#[derive(Clone)]
pub struct Folder {
    disk: Arc<dyn Disk>,
    root: PathBuf,
}

/// Written at a time.
const BUFFER_BYTES: usize = 1 << 20;

impl Folder {
    /// The store in `root`, which need not exist yet.
    pub fn new(disk: Arc<dyn Disk>, root: &Path) -> Self {
        Self { disk, root: root.to_owned() }
    }

    fn place(&self, doing: &'static str, path: &str) -> Result<PathBuf, StoreError> {
        let is_name = |name: &str| !matches!(name, "" | "." | "..") && !name.contains('\0');
        if path.is_empty() || path.split('/').all(is_name) {
            return Ok(if path.is_empty() { self.root.clone() } else { self.root.join(path) });
        }
        let error = io::Error::new(ErrorKind::InvalidInput, "the path leaves the store");
        Err(StoreError { doing, path: path.to_owned(), error })
    }

    fn list_into(&self, dir: &Path, prefix: &str, files: &mut Vec<Listed>) -> io::Result<()> {
        let gone = |error: &io::Error| error.kind() == ErrorKind::NotFound;
        let folders = match self.disk.list_dirs(dir) {
            // It was deleted in between, or never made.
            Err(error) if gone(&error) => return Ok(()),
            listed => listed?,
        };
        let path_of = |name: &str| if prefix.is_empty() { name.to_owned() } else { format!("{prefix}/{name}") };
        for name in self.disk.list(dir)? {
            if folders.contains(&name) {
                continue;
            }
            match self.disk.open(&dir.join(&name)).and_then(|file| file.len()) {
                Err(error) if gone(&error) => {}
                // The store has no files here.
                Err(_) if prefix.is_empty() => {}
                // It is there: reading it will say more.
                Err(error) if error.kind() == ErrorKind::PermissionDenied => {
                    files.push(Listed { path: path_of(&name), bytes: 0 });
                }
                bytes => files.push(Listed { path: path_of(&name), bytes: bytes? }),
            }
        }
        // Such as `lost+found`, which nobody may read.
        let is_ours = |name: &&String| !prefix.is_empty() || Tenant::new(name).is_ok();
        folders.iter().filter(is_ours).try_for_each(|name| self.list_into(&dir.join(name), &path_of(name), files))
    }
}

fn failed(doing: &'static str, path: &str) -> impl Fn(io::Error) -> StoreError {
    move |error| StoreError { doing, path: path.to_owned(), error }
}

impl Store for Folder {
    fn put(&self, path: &str, bytes: Bytes) -> Result<(), StoreError> {
        // Under another name first: a file that is there is whole, also after a crash.
        let unfinished = format!("{path}.tmp");
        let mut sink = self.create(&unfinished)?;
        io::Write::write_all(&mut sink, &bytes).map_err(failed("write", path))?;
        sink.finish()?;
        let (from, to) = (self.place("write", &unfinished)?, self.place("write", path)?);
        let dir = to.parent().unwrap_or(&self.root);
        self.disk.rename(&from, &to).and_then(|()| self.disk.sync_dir(dir)).map_err(failed("write", path))
    }

    fn create(&self, path: &str) -> Result<Box<dyn Sink>, StoreError> {
        let failed = failed("create", path);
        let place = self.place("create", path)?;
        let dir = place.parent().unwrap_or(&self.root);
        let make = || self.disk.create_dir_all(dir).and_then(|()| self.disk.create(&place, 0));
        let file = match make() {
            // What a process left that was killed, or the same content once more.
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {
                self.disk.remove(&place).and_then(|()| self.disk.create(&place, 0))
            }
            // The folder was empty and somebody's `delete` took it away.
            Err(error) if error.kind() == ErrorKind::NotFound => make(),
            created => created,
        };
        Ok(Box::new(FolderSink {
            disk: self.disk.clone(),
            file: Some(file.map_err(&failed)?),
            place,
            path: path.to_owned(),
            buffer: Vec::new(),
            written: 0,
        }))
    }

    fn read(&self, path: &str, range: Range<u64>) -> Result<Bytes, StoreError> {
        self.open(path)?.read(range)
    }

    fn open(&self, path: &str) -> Result<Arc<dyn Source>, StoreError> {
        let file = self.disk.open(&self.place("open", path)?).map_err(failed("open", path))?;
        Ok(Arc::new(FolderSource { file, path: path.to_owned() }))
    }

    fn size(&self, path: &str) -> Result<u64, StoreError> {
        let place = self.place("look at", path)?;
        self.disk.open(&place).and_then(|file| file.len()).map_err(failed("look at", path))
    }

    fn list(&self, prefix: &str) -> Result<Vec<Listed>, StoreError> {
        let mut files = Vec::new();
        self.list_into(&self.place("list", prefix)?, prefix, &mut files).map_err(failed("list", prefix))?;
        Ok(files)
    }

    fn delete(&self, path: &str) -> Result<(), StoreError> {
        let failed = failed("delete", path);
        let place = self.place("delete", path)?;
        let Some(mut dir) = place.parent() else { return Ok(()) };
        match self.disk.remove(&place) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
            removed => removed.and_then(|()| self.disk.sync_dir(dir)).map_err(&failed)?,
        }
        // Folders go once they are empty; one that is not, or that somebody just wrote to, stays.
        while dir != self.root && self.disk.remove_dir(dir).is_ok() {
            let Some(above) = dir.parent() else { break };
            dir = above;
        }
        Ok(())
    }

    fn free_bytes(&self) -> Result<Option<u64>, StoreError> {
        self.disk.free_bytes(&self.root).map(Some).map_err(failed("look at", ""))
    }
}

struct FolderSource {
    file: Arc<dyn DiskFile>,
    path: String,
}

impl Source for FolderSource {
    fn read(&self, range: Range<u64>) -> Result<Bytes, StoreError> {
        let mut buffer = Vec::new();
        self.read_into(range, &mut buffer).map(|()| buffer.into())
    }

    fn read_into(&self, range: Range<u64>, buffer: &mut Vec<u8>) -> Result<(), StoreError> {
        let failed = failed("read", &self.path);
        let short = || io::Error::new(ErrorKind::UnexpectedEof, "the file is shorter than it should be");
        let bytes =
            usize::try_from(range.end.saturating_sub(range.start)).map_err(io::Error::other).map_err(&failed)?;
        // Checked first when it is much, so that a lie about the range costs no memory.
        if bytes > BUFFER_BYTES && range.end > self.file.len().map_err(&failed)? {
            return Err(failed(short()));
        }
        let start = buffer.len();
        buffer.reserve_exact(bytes);
        buffer.resize(start + bytes, 0);
        let read = read_full(&*self.file, &mut buffer[start..], range.start).map_err(&failed)?;
        if read < bytes { Err(failed(short())) } else { Ok(()) }
    }

    fn is_remote(&self) -> bool {
        false
    }
}

struct FolderSink {
    disk: Arc<dyn Disk>,
    /// None once it is finished.
    file: Option<Arc<dyn DiskFile>>,
    place: PathBuf,
    path: String,
    buffer: Vec<u8>,
    written: u64,
}

impl FolderSink {
    fn write_out(&mut self) -> io::Result<()> {
        if let Some(file) = &self.file {
            file.write_all_at(&[&self.buffer], self.written)?;
            self.written += self.buffer.len() as u64;
            self.buffer.clear();
        }
        Ok(())
    }

    fn sync(&mut self) -> io::Result<()> {
        self.write_out()?;
        if let Some(file) = &self.file {
            file.sync_data()?;
        }
        self.place.parent().map_or(Ok(()), |dir| self.disk.sync_dir(dir))
    }
}

impl io::Write for FolderSink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.buffer.extend_from_slice(bytes);
        if self.buffer.len() >= BUFFER_BYTES {
            self.write_out()?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.write_out()
    }
}

impl Sink for FolderSink {
    fn finish(mut self: Box<Self>) -> Result<u64, StoreError> {
        self.sync().map_err(failed("write", &self.path))?;
        self.file = None;
        Ok(self.written)
    }
}

impl Drop for FolderSink {
    fn drop(&mut self) {
        if self.file.take().is_some()
            && let Err(error) = self.disk.remove(&self.place)
        {
            tracing::warn!(path = self.path, %error, "cannot remove a file that was not finished");
        }
    }
}

#[cfg(test)]
mod tests {
    use clew_common::log::{RealDisk, SimDisk};

    use super::*;

    #[test]
    fn folders_that_are_not_the_stores_are_not_looked_into() {
        let disk: Arc<dyn Disk> = Arc::new(SimDisk::new());
        let folder = Folder::new(disk.clone(), Path::new("/blocks"));
        folder.put("a/blocks/day/id/meta.json", Bytes::from_static(b"x")).unwrap();
        folder.put("lost+found/x", Bytes::from_static(b"x")).unwrap();
        let paths: Vec<_> = folder.list("").unwrap().into_iter().map(|file| file.path).collect();
        assert_eq!(paths, ["a/blocks/day/id/meta.json"]);
    }

    #[test]
    fn a_name_at_the_root_that_cannot_be_opened_is_passed_over() {
        let root = std::env::temp_dir().join(format!("clew-folder-{}", std::process::id()));
        std::fs::create_dir_all(&root).unwrap();
        std::os::unix::fs::symlink("loop", root.join("loop")).unwrap();
        let listed = Folder::new(Arc::new(RealDisk), &root).list("");
        std::fs::remove_dir_all(&root).unwrap();
        assert_eq!(listed.unwrap(), []);
    }
}
