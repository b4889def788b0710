//! Which store a command looks at.

use std::{path::PathBuf, sync::Arc};

use anyhow::{Context, bail};
use clew_common::world::World;
use clew_storage::store::{self, Store};

/// A collector's data, or only its blocks.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Place {
    /// The collector's data folder: its WAL, and its blocks
    /// [default: clew-data/collector, unless --store is given]
    #[arg(long, value_name = "DIR", env = "CLEW_COLLECTOR_DATA")]
    data: Option<PathBuf>,
    /// Where the blocks are, when not in the data folder
    #[arg(long, value_name = "PLACE")]
    store: Option<String>,
}

impl Place {
    /// Opens the store of blocks.
    pub(crate) fn open(&self, world: &World) -> anyhow::Result<Arc<dyn Store>> {
        let place = match &self.store {
            Some(place) => place.clone(),
            None => {
                let data = self.data();
                if !["wal", "blocks"].iter().any(|name| data.join(name).is_dir()) {
                    bail!("{} is no collector's data folder: say where it is with --data DIR", data.display());
                }
                data.join("blocks").to_str().context("the data folder's name is not UTF-8")?.to_owned()
            }
        };
        store::open(&place, world).with_context(|| format!("cannot open the store {place}"))
    }

    /// The folder of the WAL, if there is one to look at.
    pub(crate) fn wal(&self) -> Option<PathBuf> {
        let wal = self.data().join("wal");
        ((self.store.is_none() || self.data.is_some()) && wal.is_dir()).then_some(wal)
    }

    fn data(&self) -> PathBuf {
        self.data.clone().unwrap_or_else(|| "clew-data/collector".into())
    }
}
