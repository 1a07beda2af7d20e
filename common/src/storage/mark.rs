//! The mark that an I/O error leaves for the next start.
//!
//! After a failed fsync the kernel may keep the unwritten pages and call them clean: the next start would read records
//! that are not on disk, sync without an error, and tell others of them; then the power goes. So a store that ended
//! with an error of the device leaves a mark beside it, and whoever opens it next drops the cached pages before the
//! first read. No sync is tried before that: it would "succeed" and prove nothing.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use super::error::StorageError;
use super::folder::sync_folder;

/// The mark file of one store.
#[derive(Clone, Debug)]
pub struct Mark(PathBuf);

impl Mark {
    /// The mark at this path, set or not.
    #[must_use]
    pub const fn at(path: PathBuf) -> Self {
        Self(path)
    }

    /// Leaves the mark, as well as the device allows: when it can't, nothing better is left to do.
    pub fn set(&self, error: &StorageError) {
        let write = || -> io::Result<()> {
            let mut file = File::create(&self.0)?;
            writeln!(file, "{}: {error}", error.code())?;
            file.sync_all()
        };
        let _ = write();
        let _ = self.0.parent().map(sync_folder);
    }

    /// Whether the last use of the store ended with an error of the device.
    ///
    /// # Errors
    /// When that can't be told: "can't look" is not "no mark".
    pub fn is_set(&self) -> Result<bool, StorageError> {
        self.0.try_exists().map_err(|source| StorageError::from_io(&self.0, "look for the mark", source))
    }

    /// Takes the mark away. Only after the store was opened and verified from the disk.
    ///
    /// # Errors
    /// When the file can't be removed.
    pub fn clear(&self) -> Result<(), StorageError> {
        match fs::remove_file(&self.0) {
            Err(source) if source.kind() != io::ErrorKind::NotFound => {
                Err(StorageError::from_io(&self.0, "remove the mark", source))
            }
            _ => Ok(()),
        }
    }
}

/// Asks the kernel to forget the cached pages of `file`.
///
/// # Errors
/// When the file can't be opened or the advice is refused.
pub(crate) fn drop_cached_pages(file: &Path) -> io::Result<()> {
    let file = File::open(file)?;
    rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_is_set_seen_and_cleared() {
        let place = tempfile::tempdir().unwrap();
        let mark = Mark::at(place.path().join("log.redb.io-error"));
        assert!(!mark.is_set().unwrap());
        mark.set(&StorageError::DiskFull { file: "log.redb".into() });
        assert!(mark.is_set().unwrap());
        mark.clear().unwrap();
        mark.clear().unwrap();
        assert!(!mark.is_set().unwrap());
    }

    #[test]
    fn a_mark_that_cant_be_written_is_no_second_error() {
        Mark::at("/proc/no/such/place".into()).set(&StorageError::DiskFull { file: "x".into() });
    }

    #[test]
    fn dropping_pages_leaves_the_content() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("x");
        fs::write(&path, vec![3; 100_000]).unwrap();
        drop_cached_pages(&path).unwrap();
        assert_eq!(fs::read(&path).unwrap(), vec![3; 100_000]);
    }
}
