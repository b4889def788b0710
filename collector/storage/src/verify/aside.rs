//! Puts damaged blocks away, so that answers are no longer partial. Nothing is lost that could be read.

use super::{Found, copy::copy};
use crate::{
    block::META,
    store::{Store, StoreError},
};

/// Moves a block's folder from `blocks/` to `quarantine/` of its tenant; gives where it is then. The meta is the first
/// to be deleted: what a move that is cut short then leaves is a block that was never finished, and goes at the next start.
///
/// # Errors
/// Those of the store. Files are deleted only once their copies are durable.
pub fn set_aside(store: &dyn Store, found: &Found) -> Result<String, StoreError> {
    let tenant = found.tenant.to_string();
    let rest = found.path.strip_prefix(&tenant).and_then(|rest| rest.strip_prefix("/blocks/"));
    let to = format!("{tenant}/quarantine/{}", rest.unwrap_or(&found.path));
    let name = |path: &str| path.rsplit('/').next().unwrap_or_default().to_owned();
    for file in &found.files {
        copy(store, &file.path, store, &format!("{to}/{}", name(&file.path)))?;
    }
    let is_meta = |path: &str| name(path) == META;
    let (metas, others): (Vec<_>, Vec<_>) = found.files.iter().partition(|file| is_meta(&file.path));
    metas.into_iter().chain(others).try_for_each(|file| store.delete(&file.path))?;
    Ok(to)
}
