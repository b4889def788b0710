//! Memory for spans that are on their way into it: who has a place is not refused any more.

use std::{sync::Arc, time::Duration};

use crate::{errors::AppendError, storage::Inner};

/// Memory that is kept for a batch, until it is in memory itself or was given up.
pub struct Place {
    inner: Arc<Inner>,
    bytes: usize,
}

impl Place {
    /// Waits until there is memory for spans of about so many bytes, for `patience` at most: while spans become blocks there is
    /// some every moment. What is there when less than the budget is used may be a batch more than that.
    ///
    /// # Errors
    /// When there is none until then.
    pub(crate) async fn wait(inner: &Arc<Inner>, bytes: usize, patience: Duration) -> Result<Self, AppendError> {
        if let Ok(place) = Self::take(inner, bytes) {
            return Ok(place);
        }
        let mut freed = inner.contents.freed();
        let waiting = async {
            loop {
                if let Ok(place) = Self::take(inner, bytes) {
                    return Some(place);
                }
                freed.changed().await.ok()?;
            }
        };
        match tokio::time::timeout(patience, waiting).await {
            Ok(Some(place)) => Ok(place),
            Ok(None) | Err(_) => Self::take(inner, bytes),
        }
    }

    fn take(inner: &Arc<Inner>, bytes: usize) -> Result<Self, AppendError> {
        let mut coming = inner.coming_bytes.lock();
        inner.has_room(*coming)?;
        *coming += bytes;
        Ok(Self { inner: inner.clone(), bytes })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let coming = {
            let mut coming = self.inner.coming_bytes.lock();
            *coming -= self.bytes;
            *coming
        };
        // The spans may have taken as much: then nobody needs to look.
        if self.inner.has_room(coming).is_ok() {
            self.inner.contents.tell_freed();
        }
    }
}
