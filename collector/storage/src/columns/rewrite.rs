//! Gives spans that were never stored the bytes that they would come back with.

use std::collections::HashMap;

use arrow_schema::ArrowError;
use clew_common::otlp::walk::{self, Malformed};

use super::{Builder, Resource, Spans, ViewError, write_otlp};

/// Bytes that are no spans.
#[derive(Debug, thiserror::Error)]
pub enum RewriteError {
    /// They are not OTLP.
    #[error(transparent)]
    Malformed(#[from] Malformed),
    /// Some of the spans are bad.
    #[error("{0} of its spans are bad")]
    BadSpans(usize),
    /// There are too many.
    #[error(transparent)]
    Columns(#[from] ArrowError),
    /// Their columns cannot be read.
    #[error(transparent)]
    View(#[from] ViewError),
}

/// Takes TracesData apart into columns and puts it together again: so that the same span has the same bytes, wherever it is
/// found.
///
/// # Errors
/// When it could not be stored.
pub fn rewrite(request: &[u8]) -> Result<Vec<u8>, RewriteError> {
    let bad = walk::check(request, |_| ())?.bad.len();
    if bad > 0 {
        return Err(RewriteError::BadSpans(bad));
    }
    let mut builder = Builder::new();
    builder.add(request)?;
    let Spans { batch, resources } = builder.finish()?;
    let resources: HashMap<u64, Resource> = resources.into_iter().map(|resource| (resource.id, resource)).collect();
    let rows: Vec<usize> = (0..batch.num_rows()).collect();
    let mut out = Vec::with_capacity(request.len());
    write_otlp(&batch, &rows, |id| resources.get(&id).cloned(), &mut out)?;
    Ok(out)
}
