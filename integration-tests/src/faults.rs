//! Programs whose clock and disk do what a test says: `faults/faults.c` is loaded into them.

use std::{
    fs::File,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, ensure};

use crate::source;

/// What goes wrong in a program, from when it is set.
#[derive(Clone, Copy, Debug, Default)]
pub struct Fault {
    /// Seconds that the wall clock is ahead.
    pub clock_s: i64,
    /// Milliseconds that each sync takes longer.
    pub slow_ms: i64,
    /// Syncs fail with EIO.
    pub sync_fails: bool,
    /// Writes fail with EIO.
    pub write_fails: bool,
}

/// Steers the faults of the programs that were started with its environment.
pub struct Faults {
    library: PathBuf,
    control: PathBuf,
}

impl Faults {
    /// Builds the library in `dir`.
    ///
    /// # Errors
    /// When there is no C compiler.
    pub fn new(dir: &Path) -> Result<Self> {
        let library = dir.join("faults.so");
        let source = source("faults/faults.c");
        let built = Command::new("cc").args(["-O1", "-shared", "-fPIC", "-o"]).args([&library, &source]).output();
        let built = built.context("cannot run cc")?;
        ensure!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
        let faults = Self { library, control: dir.join("faults") };
        faults.set(Fault::default())?;
        Ok(faults)
    }

    /// What a program must have in its environment. Its files below `folder` are concerned.
    pub fn environment(&self, folder: &Path) -> Vec<(String, String)> {
        let text = |path: &Path| path.display().to_string();
        let of = |name: &str, path: &Path| (name.to_owned(), text(path));
        vec![of("LD_PRELOAD", &self.library), of("CLEW_FAULTS", &self.control), of("CLEW_FAULTS_BELOW", folder)]
    }

    /// From now on.
    ///
    /// # Errors
    /// When the file that says it cannot be written.
    pub fn set(&self, fault: Fault) -> Result<()> {
        let words = [fault.clock_s, fault.slow_ms, fault.sync_fails.into(), fault.write_fails.into()];
        let bytes: Vec<u8> = words.iter().flat_map(|word: &i64| word.to_ne_bytes()).collect();
        // In place: programs have it mapped.
        File::options().create(true).truncate(false).write(true).open(&self.control)?.write_all_at(&bytes, 0)?;
        Ok(())
    }
}
