//! Spans as Parquet: a folder of blocks, laid out as a collector's, but without shapes: it is for other programs, which have it
//! easier when all columns are in one file.

use std::{path::Path, sync::Arc};

use anyhow::{Context, bail};
use clew_common::{ids::Tenant, world::World};
use clew_storage::{
    block::{self, Block, BlockWriter, Layout, SHAPES, Spec, WriteError},
    columns::Resource,
    store::{self, Store},
    verify::{Damage, Found, Part, copy_block},
};

/// Spans that do not come as whole blocks are gathered to blocks of so many,
const GATHERED_SPANS: usize = 256 << 10;
/// or of about so many bytes in memory.
const GATHERED_BYTES: usize = 256 << 20;

/// Rows of a block that are read at a time.
const ROWS: usize = 8192;

/// Where blocks go.
pub(crate) struct Folder {
    store: Arc<dyn Store>,
    world: World,
    tenant: Tenant,
    gathered: Vec<Part>,
    spans: usize,
    bytes: usize,
}

impl Folder {
    /// A folder that is new or empty.
    pub(crate) fn create(path: &Path, world: &World, tenant: Tenant) -> anyhow::Result<Self> {
        let shown = path.display();
        std::fs::create_dir_all(path).with_context(|| format!("cannot create the folder {shown}"))?;
        let first = std::fs::read_dir(path).and_then(|mut files| files.next().transpose());
        if first.with_context(|| format!("cannot list the folder {shown}"))?.is_some() {
            bail!("the folder {shown} is not empty: nothing is written over");
        }
        let place = path.to_str().context("the folder's name is not UTF-8")?;
        let store = store::open(place, world).with_context(|| format!("cannot open the folder {shown}"))?;
        Ok(Self { store, world: world.clone(), tenant, gathered: Vec::new(), spans: 0, bytes: 0 })
    }

    /// Takes a block, with all columns in one file. Gives what is damaged; nothing of it is taken then.
    pub(crate) fn copy(&self, from: &dyn Store, found: &Found, block: &Block) -> anyhow::Result<Option<Damage>> {
        if !block.meta().files.contains_key(SHAPES) {
            return Ok(copy_block(from, found, block, &*self.store)?);
        }
        match self.rewrite(block) {
            Ok(()) => Ok(None),
            Err(WriteError::Read(error)) if error.is_damage() => {
                Ok(Some(Damage { place: error.path, what: error.why.to_string() }))
            }
            Err(error) => Err(error.into()),
        }
    }

    fn rewrite(&self, block: &Block) -> Result<(), WriteError> {
        let (meta, layout) = (block.meta(), Layout::default().without_shapes());
        let mut writer = BlockWriter::create(self.store.clone(), &meta.spec(self.tenant.clone()), [&**meta], layout)?;
        block::merge(&mut writer, std::iter::once(block), (ROWS, layout.group_rows), || Ok::<_, WriteError>(()))?;
        writer.finish(block.resources()?.values())?;
        Ok(())
    }

    /// Takes spans.
    pub(crate) fn write(&mut self, part: Part) -> anyhow::Result<()> {
        self.spans += part.spans();
        self.bytes += part.batch.get_array_memory_size();
        self.gathered.push(part);
        if self.spans >= GATHERED_SPANS || self.bytes >= GATHERED_BYTES {
            self.write_gathered()?;
        }
        Ok(())
    }

    fn write_gathered(&mut self) -> anyhow::Result<()> {
        let parts = std::mem::take(&mut self.gathered);
        if std::mem::take(&mut self.spans) == 0 {
            return Ok(());
        }
        self.bytes = 0;
        let spec = Spec {
            created_ms: self.world.clock.unix_ms(),
            // Nothing tells what another collector has of them.
            may_duplicate: true,
            ..Spec::new(self.world.random.uuid(self.world.clock), self.tenant.clone())
        };
        let mut resources: Vec<Resource> = Vec::new();
        let mut known = std::collections::HashSet::new();
        for part in &parts {
            resources.extend(part.resources.values().filter(|resource| known.insert(resource.id)).cloned());
        }
        let batches: Vec<_> = parts.into_iter().map(|part| part.batch).collect();
        BlockWriter::write_all(&self.store, &spec, &batches, &resources, Layout::default().without_shapes())?;
        Ok(())
    }

    /// Writes what is left; all is durable then.
    pub(crate) fn finish(mut self) -> anyhow::Result<()> {
        self.write_gathered()
    }
}
