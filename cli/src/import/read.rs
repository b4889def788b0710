//! Reads what is imported and hands it on as requests, in a thread of its own.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use clew_storage::{
    block::BlockError,
    store::Store,
    verify::{self, Part},
};
use tokio::sync::mpsc;

use super::{
    batch::{Batcher, Found, JOINED_BYTES},
    error::{ReadError, What},
    input::Input,
    messages::{self, MAX_BYTES},
};
use crate::{
    export::Format,
    load::send::{
        body::{self, Compression},
        source::Item,
    },
};

/// Spans of a block that are read at a time.
const ROWS: usize = 2048;

/// What to read.
pub(crate) struct Plan {
    pub(crate) inputs: Vec<PathBuf>,
    pub(crate) format: Option<Format>,
    pub(crate) compression: Compression,
    /// Counts bytes.
    pub(crate) read: Arc<AtomicU64>,
}

/// Reads until all is read, something is wrong, or nobody takes requests any more. Gives what was found, and what is wrong.
pub(crate) fn read(plan: &Plan, to: &mpsc::Sender<Item>) -> (Found, Option<ReadError>) {
    let mut index = 0;
    let mut batcher = Batcher::new(|message: Vec<u8>, spans| {
        let mut framed = body::begin();
        framed.extend_from_slice(&message);
        drop(message);
        let framed = body::finish(framed, plan.compression).map_err(|error| What::Compress(error).at("a request"))?;
        let item = Item { index, spans, framed, due: None };
        index += 1;
        to.blocking_send(item).map_err(|_| What::Stopped.at("a request"))
    });
    let read = plan
        .inputs
        .iter()
        .try_for_each(|path| input(path, plan, |message, place, guessed| batcher.add(message, place, guessed)));
    // What was read before something was wrong is sent.
    let sent = batcher.finish();
    let failed = read.and(sent).err().filter(|error| !matches!(error.what, What::Stopped));
    (batcher.found, failed)
}

fn input(
    path: &Path,
    plan: &Plan,
    mut each: impl FnMut(&[u8], &str, bool) -> Result<(), ReadError>,
) -> Result<(), ReadError> {
    let name = if path == Path::new("-") { "standard input".to_owned() } else { path.display().to_string() };
    match Input::open(path, plan.format, plan.read.clone())? {
        Input::Lines(mut bytes) => {
            messages::lines(&mut bytes, &name, MAX_BYTES, |message, place| each(message, place, false))
        }
        Input::Delimited { mut bytes, guessed } => messages::delimited(&mut bytes, &name, MAX_BYTES, guessed, each),
        Input::Blocks(store) => blocks(&store, &name, &plan.read, |message, place| each(message, place, false)),
    }
}

/// Gives the spans of all blocks of a store.
fn blocks(
    store: &Arc<dyn Store>,
    name: &str,
    read: &AtomicU64,
    mut each: impl FnMut(&[u8], &str) -> Result<(), ReadError>,
) -> Result<(), ReadError> {
    let found = verify::folders(store).map_err(|error| What::List(error).at(name))?;
    let tenants: BTreeSet<String> = found.iter().map(|found| found.tenant.to_string()).collect();
    if tenants.len() > 1 {
        let tenants: Vec<String> = tenants.into_iter().collect();
        return Err(What::Tenants(tenants.join(", ")).at(name));
    }
    if found.is_empty() {
        return Err(What::NoBlocks.at(name));
    }
    let replaced = verify::replaced(&found);
    let mut unfinished = None;
    for found in found.into_iter().filter(|found| !replaced.contains(&found.id)) {
        let place = format!("{name}/{}", found.path);
        let broken = |error: BlockError| {
            let place = format!("{name}/{}", error.path);
            What::Block(error).at(place)
        };
        let Some(block) = found.block else {
            unfinished = Some(What::Unfinished.at(place));
            continue;
        };
        let block = block.map_err(broken)?;
        for part in Part::all_of(&block, ROWS).map_err(broken)? {
            for message in part.map_err(broken)?.messages(JOINED_BYTES) {
                each(&message.map_err(|error| What::Part(error).at(&place))?, &place)?;
            }
        }
        read.fetch_add(block.meta().bytes(), Relaxed);
    }
    unfinished.map_or(Ok(()), Err)
}
