//! The disk around the file: how much room is left, and the ballast that is given up when there is
//! none.
//!
//! The engine copies before it writes, so a full disk cannot even be drained. Three lines of
//! defence: news is refused while there is still room to finish queued work; a ballast file is
//! removed when the disk is full all the same; and it is only laid again when there is plenty.

use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{FallocateFlags, fallocate, statfs, statvfs};
use tracing::{info, warn};

/// What the writer knows of the disk it writes to.
#[derive(Clone, Debug, Default)]
pub(super) struct Disk(Option<Ballast>);

#[derive(Clone, Debug)]
struct Ballast {
    path: PathBuf,
    n_bytes: u64,
}

impl Disk {
    /// Not a file system: always enough room.
    pub fn boundless() -> Self {
        Self(None)
    }

    pub fn beside(store: &Path, n_bytes: u64) -> Self {
        Self(Some(Ballast { path: with_suffix(store, ".ballast"), n_bytes }))
    }

    /// The room left, when it is so little that no news should be accepted: a quarter of the ballast.
    pub fn too_little_room(&self) -> Option<u64> {
        let ballast = self.0.as_ref()?;
        // Not being able to tell is no reason to refuse; the commit will.
        ballast.free_bytes().ok().filter(|free| *free < ballast.n_bytes / 4)
    }

    /// Whether so much can be written beside the store and news is still accepted afterwards; if not,
    /// how much is free.
    pub fn room_for(&self, n_bytes: u64) -> Result<(), u64> {
        let Some(ballast) = &self.0 else { return Ok(()) };
        match ballast.free_bytes() {
            Ok(free) if free < n_bytes.saturating_add(ballast.n_bytes / 4) => Err(free),
            // Not being able to tell is no reason to refuse; the write will.
            Ok(_) | Err(_) => Ok(()),
        }
    }

    /// Removes the ballast. Whether there was one.
    pub fn give_up_ballast(&self) -> bool {
        self.0.as_ref().is_some_and(|ballast| fs::remove_file(&ballast.path).is_ok())
    }

    /// Lays the ballast unless it is there or the disk has not twice as much to spare. Failing to is
    /// worth a warning, no more.
    pub fn lay_ballast(&self) {
        let Some(ballast) = &self.0 else { return };
        if fs::metadata(&ballast.path).is_ok_and(|found| found.len() == ballast.n_bytes) {
            return;
        }
        match ballast.free_bytes() {
            Ok(free_bytes) if free_bytes < ballast.n_bytes.saturating_mul(2) => {
                info!(free_bytes, "the disk has too little room for the ballast file: going on without");
            }
            Ok(_) => {
                if let Err(source) = ballast.lay() {
                    self.give_up_ballast();
                    warn!(error = &source as &dyn std::error::Error, "could not lay the ballast file");
                }
            }
            Err(source) => {
                warn!(error = &source as &dyn std::error::Error, "cannot tell how much room the disk has");
            }
        }
    }
}

impl Ballast {
    fn free_bytes(&self) -> io::Result<u64> {
        free_bytes(directory_of(&self.path))
    }

    fn lay(&self) -> io::Result<()> {
        let mut file =
            OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&self.path)?;
        if fallocate(&file, FallocateFlags::empty(), 0, self.n_bytes).is_err() {
            // This file system cannot reserve: bytes that are not all zero cannot be left out.
            let block = [0xA5; 1 << 16];
            let mut left = self.n_bytes;
            while left > 0 {
                let n_bytes = left.min(block.len() as u64);
                file.write_all(&block[..usize::try_from(n_bytes).expect("a block fits in memory")])?;
                left -= n_bytes;
            }
        }
        file.sync_all()
    }
}

/// The room that is left to us on the disk of a directory.
pub(super) fn free_bytes(directory: &Path) -> io::Result<u64> {
    let disk = statvfs(directory)?;
    Ok(disk.f_bavail.saturating_mul(disk.f_frsize))
}

/// The kind of network share that a store at `path` is on, if it is on one.
pub(super) fn network_share(path: &Path) -> Option<&'static str> {
    // Not being able to tell is no reason to complain.
    statfs(directory_of(path)).ok().and_then(|found| share(found.f_type as u32))
}

/// By the number the kernel knows a file system by. Source: statfs(2).
fn share(magic: u32) -> Option<&'static str> {
    match magic {
        0x6969 => Some("NFS"),
        0x517B | 0xFF53_4D42 | 0xFE53_4D42 => Some("SMB"),
        _ => None,
    }
}

pub(super) fn directory_of(path: &Path) -> &Path {
    match path.parent() {
        Some(directory) if !directory.as_os_str().is_empty() => directory,
        _ => Path::new("."),
    }
}

/// `store.redb` → `store.redb.id`
pub(super) fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

/// Makes a rename or a new file in this directory durable.
pub(super) fn sync_directory_of(path: &Path) -> io::Result<()> {
    fs::File::open(directory_of(path))?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_share_is_told_from_a_disk() {
        assert_eq!(share(0x6969), Some("NFS"));
        assert_eq!(
            [0x517B, 0xFF53_4D42, 0xFE53_4D42].map(share),
            [Some("SMB"); 3],
            "SMB, CIFS, SMB 2 and later"
        );
        // ext4, XFS, Btrfs, tmpfs, overlay.
        assert_eq!([0xEF53, 0x5846_5342, 0x9123_683E, 0x0102_1994, 0x794C_7630].map(share), [None; 5]);
        let directory = tempfile::tempdir().unwrap();
        assert_eq!(network_share(&directory.path().join("store")), None);
        assert_eq!(network_share(Path::new("/nowhere/at/all")), None);
    }
}
