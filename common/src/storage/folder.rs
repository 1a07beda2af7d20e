//! The folder of a coordinator or participant: who it belongs to, and that only one process uses it.

use std::fmt;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::error::StorageError;

/// The role that a folder is made for.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Kind {
    /// Holds a decision log.
    Coordinator,
    /// Holds an embedded store, or the prepare log before a database.
    Participant,
}

impl Kind {
    /// The role in the words of the command line.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Coordinator => "coordinator",
            Self::Participant => "participant",
        }
    }

    pub(crate) fn parse(text: &str) -> Option<Self> {
        [Self::Coordinator, Self::Participant].into_iter().find(|kind| kind.as_str() == text)
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A folder that this process holds until the last clone is gone. Stores keep a clone, so that no store outlives it.
#[derive(Clone, Debug)]
pub struct Folder {
    path: Arc<Path>,
    kind: Kind,
    name: Arc<str>,
    /// The system's lock goes with this handle, also after a kill: a lock file by existence would need a human.
    _lock: Arc<File>,
}

impl Folder {
    /// Makes the folder if it is absent, locks it, and checks whose it is.
    ///
    /// The file `lock` names kind and name of the owner. It is never deleted: a second process could otherwise lock
    /// a file that a third one can't see.
    ///
    /// # Errors
    /// `InUse` when another process (or an earlier [`Folder`] of this one) holds it, `WrongKind`, `WrongName`,
    /// `Damaged` when the file `lock` can't be read as ours, `Io`, `DiskFull`.
    pub fn lock(path: impl AsRef<Path>, kind: Kind, name: &str) -> Result<Self, StorageError> {
        let path = path.as_ref();
        make(path)?;
        let lock_path = path.join("lock");
        let io = |doing| {
            let lock_path = lock_path.clone();
            move |source| StorageError::from_io(&lock_path, doing, source)
        };
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&lock_path)
            .map_err(io("open the lock"))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(StorageError::InUse { folder: path.to_owned() }),
            Err(TryLockError::Error(source)) => return Err(io("lock")(source)),
        }
        let mut found = Vec::new();
        file.read_to_end(&mut found).map_err(io("read the lock"))?;
        if found.iter().all(|byte| *byte == 0) {
            // New, or a creation that power loss cut short: no store is made before this line is on disk.
            file.set_len(0).and_then(|()| file.write_all(owner_line(kind, name).as_bytes())).map_err(io("write"))?;
            file.sync_all().map_err(io("sync"))?;
            sync_folder(path)?;
        } else {
            check_owner(&lock_path, &found, kind, name)?;
        }
        Ok(Self { path: path.into(), kind, name: name.into(), _lock: Arc::new(file) })
    }

    /// Where the folder is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The role it is made for.
    #[must_use]
    pub const fn kind(&self) -> Kind {
        self.kind
    }

    /// The name it is made under.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Path of a file in it.
    #[must_use]
    pub fn file(&self, file: &str) -> PathBuf {
        self.path.join(file)
    }

    /// The paths of the store called `store`, for instance `decisions`.
    #[must_use]
    pub fn store(&self, store: &str) -> StorePaths {
        let with = |end: &str| self.path.join(format!("{store}.redb{end}"));
        StorePaths { file: with(""), tmp: with(".tmp"), hint: with(".head"), mark: with(".io-error") }
    }
}

/// The files of one store.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct StorePaths {
    /// The store itself.
    pub file: PathBuf,
    /// Under this name it is made; left over by a kill, it is removed.
    pub tmp: PathBuf,
    /// The head hint: which commit was the last to be reported.
    pub hint: PathBuf,
    /// Left by an I/O error: the cached pages of the store can't be trusted.
    pub mark: PathBuf,
}

/// Makes the names in `folder` durable.
pub(crate) fn sync_folder(folder: &Path) -> Result<(), StorageError> {
    File::open(folder)
        .and_then(|folder| folder.sync_all())
        .map_err(|source| StorageError::from_io(folder, "sync the folder", source))
}

fn make(path: &Path) -> Result<(), StorageError> {
    if path.is_dir() {
        return Ok(());
    }
    fs::create_dir_all(path).map_err(|source| StorageError::from_io(path, "make the folder", source))?;
    // Without this, power loss could take the whole folder away after the first acknowledged commit.
    let above = path.parent().filter(|above| !above.as_os_str().is_empty()).unwrap_or_else(|| Path::new("."));
    sync_folder(above)
}

fn owner_line(kind: Kind, name: &str) -> String {
    format!("handfast 1 {kind} {name}\n")
}

/// What the file `lock` says: whose folder it is.
pub(super) fn parse_owner(file: &Path, found: &[u8]) -> Result<(Kind, String), StorageError> {
    let damaged = || StorageError::damaged(file, "it does not name the owner of the folder");
    let text = std::str::from_utf8(found).map_err(|_| damaged())?;
    let line = text.strip_prefix("handfast 1 ").and_then(|rest| rest.strip_suffix('\n')).ok_or_else(damaged)?;
    let (kind, name) = line.split_once(' ').ok_or_else(damaged)?;
    Ok((Kind::parse(kind).ok_or_else(damaged)?, name.to_owned()))
}

fn check_owner(file: &Path, found: &[u8], kind: Kind, name: &str) -> Result<(), StorageError> {
    let (found_kind, found_name) = parse_owner(file, found)?;
    if found_kind != kind {
        return Err(StorageError::WrongKind { file: file.to_owned(), found: found_kind, wanted: kind });
    }
    if found_name != name {
        let (found, wanted) = (found_name, name.to_owned());
        return Err(StorageError::WrongName { file: file.to_owned(), found, wanted });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_holder_at_a_time_and_the_lock_file_stays() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("a/b");
        let held = Folder::lock(&path, Kind::Coordinator, "c1").unwrap();
        let second = Folder::lock(&path, Kind::Coordinator, "c1").unwrap_err();
        assert!(matches!(second, StorageError::InUse { .. }));
        let clone = held.clone();
        drop(held);
        assert!(Folder::lock(&path, Kind::Coordinator, "c1").is_err(), "a clone still holds it");
        drop(clone);
        assert!(path.join("lock").exists());
        Folder::lock(&path, Kind::Coordinator, "c1").unwrap();
    }

    #[test]
    fn another_kind_or_name_is_refused() {
        let place = tempfile::tempdir().unwrap();
        drop(Folder::lock(place.path(), Kind::Coordinator, "c1").unwrap());
        let kind = Folder::lock(place.path(), Kind::Participant, "c1").unwrap_err();
        assert!(matches!(kind, StorageError::WrongKind { found: Kind::Coordinator, .. }), "{kind}");
        let name = Folder::lock(place.path(), Kind::Coordinator, "c10").unwrap_err();
        assert!(matches!(name, StorageError::WrongName { .. }), "{name}");
    }

    #[test]
    fn f05_a_lock_file_cut_short_is_written_again_and_a_strange_one_is_damage() {
        let place = tempfile::tempdir().unwrap();
        for left in [&b""[..], &[0; 20]] {
            fs::write(place.path().join("lock"), left).unwrap();
            drop(Folder::lock(place.path(), Kind::Participant, "p").unwrap());
        }
        fs::write(place.path().join("lock"), b"handfast 1 partic").unwrap();
        let error = Folder::lock(place.path(), Kind::Participant, "p").unwrap_err();
        assert!(matches!(error, StorageError::Damaged { .. }), "{error}");
    }
}
