//! Copies files between stores, and blocks only while they are what their meta says.

use std::io;

use super::{Damage, Found};
use crate::{
    block::{Block, META},
    store::{Store, StoreError},
};

/// Copied at a time.
const CHUNK_BYTES: u64 = 1 << 20;

/// Copies a file; gives the checksum of what was read.
pub fn copy(source: &dyn Store, from: &str, target: &dyn Store, to: &str) -> Result<u32, StoreError> {
    let bytes = source.size(from)?;
    let file = source.open(from)?;
    let mut sink = target.create(to)?;
    let (mut at, mut crc) = (0, 0);
    while at < bytes {
        let end = bytes.min(at + CHUNK_BYTES);
        let chunk = file.read(at..end)?;
        crc = crc32c::crc32c_append(crc, &chunk);
        let failed = |error| StoreError { doing: "write", path: to.to_owned(), error };
        io::Write::write_all(&mut sink, &chunk).map_err(failed)?;
        at = end;
    }
    sink.finish()?;
    Ok(crc)
}

/// Copies a block to the same path of another store, its meta last. A block whose files are not what its meta says is not
/// copied: what is wrong is given then, and nothing is left of it.
///
/// # Errors
/// Those of the stores; a file that is not there is damage.
pub fn copy_block(
    source: &dyn Store,
    found: &Found,
    block: &Block,
    target: &dyn Store,
) -> Result<Option<Damage>, StoreError> {
    let names: Vec<&String> = block.meta().files.keys().collect();
    let copied = names.iter().try_for_each(|name| {
        let path = format!("{}/{name}", found.path);
        let damaged = |what: &str| Copied::Damage(Damage { place: path.clone(), what: what.to_owned() });
        match copy(source, &path, target, &path) {
            Ok(crc) if crc == block.meta().files[*name].crc32c => Ok(()),
            Ok(_) => Err(damaged("its checksum is not the one that the meta has")),
            Err(error) if error.is_not_found() => Err(damaged("it is missing")),
            Err(error) => Err(Copied::Failed(error)),
        }
    });
    let meta = format!("{}/{META}", found.path);
    match copied.and_then(|()| copy(source, &meta, target, &meta).map(drop).map_err(Copied::Failed)) {
        Ok(()) => Ok(None),
        Err(error) => {
            // What is left without a meta is no block anyway.
            let _ = names.iter().try_for_each(|name| target.delete(&format!("{}/{name}", found.path)));
            match error {
                Copied::Damage(damage) => Ok(Some(damage)),
                Copied::Failed(error) => Err(error),
            }
        }
    }
}

/// Why a block was not copied.
enum Copied {
    Damage(Damage),
    Failed(StoreError),
}
