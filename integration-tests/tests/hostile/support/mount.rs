//! File systems of their own, small ones and ones that fail on demand.

use std::{
    io::Write,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Result, ensure};

/// A small file system of its own, unmounted when this is dropped.
pub struct Tmpfs(pub PathBuf);

impl Tmpfs {
    /// None, and a note, where mounting is not allowed.
    pub fn mount(at: &Path, options: &str) -> Result<Option<Self>> {
        std::fs::create_dir_all(at)?;
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", options, "tmpfs"]).arg(at).output()?;
        if !mounted.status.success() {
            eprintln!("SKIPPED: no tmpfs can be mounted here: {}", String::from_utf8_lossy(&mounted.stderr).trim());
            return Ok(None);
        }
        Ok(Some(Self(at.to_owned())))
    }

    /// Takes all that is free.
    pub fn fill(&self) -> Result<PathBuf> {
        let ballast = self.0.join("ballast");
        let mut size = 64 << 20;
        let mut file = std::fs::File::create(&ballast)?;
        let chunk = vec![1; 1 << 16];
        while size > 0 && file.write_all(&chunk).is_ok() {
            size -= chunk.len();
        }
        // What is left of the last page.
        while file.write_all(&[1; 512]).is_ok() {}
        Ok(ballast)
    }
}

impl Drop for Tmpfs {
    fn drop(&mut self) {
        // Lazily: whoever still has files in it keeps them.
        let _ = Command::new("umount").arg("-l").arg(&self.0).output();
    }
}

/// An ext4 of its own on a loop device, unmounted when this is dropped.
pub struct Ext4 {
    pub at: PathBuf,
    image: PathBuf,
}

impl Ext4 {
    /// None, and a note, where that is not allowed.
    pub fn mount(at: &Path) -> Result<Option<Self>> {
        std::fs::create_dir_all(at)?;
        let image = at.with_extension("img");
        std::fs::File::create(&image)?.set_len(64 << 20)?;
        let ext4 = Self { at: at.to_owned(), image };
        let made = Command::new("mkfs.ext4").arg("-q").arg(&ext4.image).output();
        if !made.is_ok_and(|made| made.status.success()) || !ext4.mount_again()? {
            eprintln!("SKIPPED: no ext4 can be made and mounted here");
            return Ok(None);
        }
        Ok(Some(ext4))
    }

    /// Mounts it once more after it was unmounted; whether that worked.
    pub fn mount_again(&self) -> Result<bool> {
        let mut command = Command::new("mount");
        let mounted = command.args(["-o", "loop,errors=remount-ro"]).arg(&self.image).arg(&self.at).output()?;
        Ok(mounted.status.success())
    }

    /// Unmounts it: nobody may have files in it.
    pub fn unmount(&self) -> Result<()> {
        let unmounted = Command::new("umount").arg(&self.at).output()?;
        ensure!(unmounted.status.success(), "{}", String::from_utf8_lossy(&unmounted.stderr));
        Ok(())
    }

    /// Makes the kernel find an error, on which it turns the file system read-only.
    pub fn fail(&self) -> Result<()> {
        let source = Command::new("findmnt").args(["-no", "SOURCE"]).arg(&self.at).output()?;
        let device = String::from_utf8(source.stdout)?.trim().trim_start_matches("/dev/").to_owned();
        Ok(std::fs::write(format!("/sys/fs/ext4/{device}/trigger_fs_error"), "1")?)
    }
}

impl Drop for Ext4 {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.at).output();
    }
}
