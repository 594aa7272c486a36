//! A small disk of its own, for a test that fills it or makes it read-only.

use super::{as_root, run_ok};
use std::path::{Path, PathBuf};
use std::process::Command;

/// A file system in memory. Dropping it takes it away.
pub struct Disk(PathBuf);

impl Disk {
    /// 64 KB at an empty folder. None: this is not root, and the test is left out.
    pub fn at(folder: &Path, test: &str) -> Option<Disk> {
        if !as_root(test) {
            return None;
        }
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", "size=64k,mode=755", "none"]);
        run_ok(mount.arg(folder));
        Some(Disk(folder.to_owned()))
    }

    /// Nobody can write to it, or everyone again.
    pub fn read_only(&self, yes: bool) {
        let how = if yes { "remount,ro" } else { "remount,rw" };
        run_ok(Command::new("mount").args(["-o", how]).arg(&self.0));
    }

    /// Writes a file of this name until there is no room.
    pub fn fill(&self, name: &str) {
        let to = format!("of={}", self.0.join(name).display());
        let mut dd = Command::new("dd");
        let output = dd.args(["if=/dev/zero", "bs=4096", &to]).output();
        assert!(!output.expect("dd").status.success(), "it is not full");
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // Whoever still has a file open there may keep it.
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}
