//! How the files of a store stand, seen from outside: nothing is opened, locked or written.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use super::disk::{directory_of, free_bytes, with_suffix};
use crate::domain::checkup::Mode;

/// What the file system says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standing {
    pub directory: Mode,
    /// The store and what belongs to it, as far as it is there.
    pub files: Vec<Mode>,
    pub free_bytes: u64,
    pub holder: Holder,
}

/// Who has the store open.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Holder {
    Nobody,
    /// The number of the process, and its name where that can be read.
    Process {
        id: u32,
        name: Option<String>,
    },
    /// The kernel does not tell here.
    Unknown,
}

/// Looks at the store at `path`, and at the files beside it.
///
/// # Errors
/// When the directory cannot be looked at: the store could not be opened either.
pub fn look(path: &Path, beside: &[PathBuf]) -> io::Result<Standing> {
    let directory = directory_of(path);
    let mut candidates: Vec<PathBuf> = vec![path.to_owned()];
    candidates.extend([".id", ".ballast"].map(|suffix| with_suffix(path, suffix)));
    candidates.extend_from_slice(beside);
    let mut files = Vec::new();
    for file in candidates {
        match fs::metadata(&file) {
            Ok(found) => files.push(Mode { name: file.display().to_string(), bits: found.mode() }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    let bits = fs::metadata(directory)?.mode();
    let directory_mode = Mode { name: directory.display().to_string(), bits };
    Ok(Standing {
        directory: directory_mode,
        files,
        free_bytes: free_bytes(directory)?,
        holder: holder(path)?,
    })
}

/// The engine locks the whole file with flock(2); Linux lists all locks with their processes.
fn holder(path: &Path) -> io::Result<Holder> {
    let inode = match fs::metadata(path) {
        Ok(found) => found.ino(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Holder::Nobody),
        Err(error) => return Err(error),
    };
    let Ok(locks) = fs::read_to_string("/proc/locks") else { return Ok(Holder::Unknown) };
    Ok(match holder_in(&locks, inode) {
        None => Holder::Nobody,
        Some(None) => Holder::Unknown,
        Some(Some(id)) => {
            let name = fs::read_to_string(format!("/proc/{id}/comm")).ok();
            Holder::Process { id, name: name.map(|name| name.trim().to_owned()) }
        }
    })
}

/// Lines such as `1: FLOCK  ADVISORY  WRITE 4711 fd:01:1234 0 EOF`; `->` marks who only waits. The device
/// is not compared: overlay file systems show another there than stat(2) does. `Some(None)`: a process
/// that cannot be named from here, as of another container.
fn holder_in(locks: &str, inode: u64) -> Option<Option<u32>> {
    locks.lines().find_map(|line| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let [_, "FLOCK", _, _, process, file, ..] = words[..] else { return None };
        let is_ours = file.rsplit(':').next() == Some(inode.to_string().as_str());
        is_ours.then(|| process.parse().ok().filter(|id| *id != 0))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    #[test]
    fn the_holder_of_a_lock_is_found_by_the_file() {
        let locks = "1: POSIX  ADVISORY  WRITE 11 fd:01:77 0 EOF\n\
                     2: FLOCK  ADVISORY  WRITE 4711 fd:01:77 0 EOF\n\
                     2: -> FLOCK  ADVISORY  WRITE 4712 fd:01:77 0 EOF\n\
                     3: FLOCK  ADVISORY  WRITE 0 00:2b:78 0 EOF\n";
        assert_eq!(holder_in(locks, 77), Some(Some(4711)));
        assert_eq!(holder_in(locks, 78), Some(None));
        assert_eq!(holder_in(locks, 7), None);
        assert_eq!(holder_in("", 77), None);
    }

    #[test]
    fn what_is_there_is_looked_at_and_a_lock_of_ours_is_seen() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("queue.redb");
        let beside = ["admin-token", "history-key"].map(|name| folder.path().join(name));
        let none = look(&path, &beside).unwrap();
        assert_eq!((none.files.len(), none.holder), (0, Holder::Nobody));
        fs::write(&path, "x").unwrap();
        fs::write(&beside[0], "x").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        let free = look(&path, &beside).unwrap();
        assert_eq!((free.files.len(), free.files[0].bits & 0o777, free.holder), (2, 0o644, Holder::Nobody));
        assert_eq!(free.directory.bits & 0o700, 0o700);
        assert!(free.free_bytes > 0);
        let file = fs::File::open(&path).unwrap();
        file.try_lock().unwrap();
        let held = look(&path, &[]).unwrap().holder;
        assert!(matches!(held, Holder::Process { id, .. } if id == std::process::id()), "{held:?}");
        assert!(look(Path::new("/nowhere/at/all/queue.redb"), &[]).is_err());
    }
}
