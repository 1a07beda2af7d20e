//! The file steps around a store, behind a small trait: their order is a promise, so a test records it, and stops
//! after each of them to see that the next start works.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::io::Write;
use std::path::Path;

use super::mark;

/// What is done to files, other than by redb.
pub trait FileSteps {
    /// Removes what an earlier creation left under the temporary name; absent is fine.
    ///
    /// # Errors
    /// Those of the file system, here and below.
    fn remove_stale(&mut self, tmp: &Path) -> io::Result<()>;

    /// Makes the temporary file; it must not exist.
    ///
    /// # Errors
    /// Those of the file system.
    fn create(&mut self, tmp: &Path) -> io::Result<File>;

    /// Makes the content of a closed file durable.
    ///
    /// # Errors
    /// Those of the file system.
    fn sync(&mut self, file: &Path) -> io::Result<()>;

    /// Makes the head hint, durably.
    ///
    /// # Errors
    /// Those of the file system.
    fn make_hint(&mut self, file: &Path, bytes: &[u8]) -> io::Result<()>;

    /// Gives the file its name.
    ///
    /// # Errors
    /// Those of the file system.
    fn rename(&mut self, from: &Path, to: &Path) -> io::Result<()>;

    /// Makes the names in the folder durable: without it power loss could take the store away again.
    ///
    /// # Errors
    /// Those of the file system.
    fn sync_folder(&mut self, folder: &Path) -> io::Result<()>;

    /// Makes the kernel forget what it has cached of the file.
    ///
    /// # Errors
    /// Those of the file system.
    fn drop_cached_pages(&mut self, file: &Path) -> io::Result<()>;
}

/// The steps on a real file system.
#[derive(Clone, Copy, Debug, Default)]
pub struct RealSteps;

impl FileSteps for RealSteps {
    fn remove_stale(&mut self, tmp: &Path) -> io::Result<()> {
        match fs::remove_file(tmp) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    fn create(&mut self, tmp: &Path) -> io::Result<File> {
        OpenOptions::new().read(true).write(true).create_new(true).open(tmp)
    }

    fn sync(&mut self, file: &Path) -> io::Result<()> {
        File::open(file)?.sync_all()
    }

    fn make_hint(&mut self, file: &Path, bytes: &[u8]) -> io::Result<()> {
        let mut hint = File::create(file)?;
        hint.write_all(bytes)?;
        hint.sync_all()
    }

    fn rename(&mut self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn sync_folder(&mut self, folder: &Path) -> io::Result<()> {
        File::open(folder)?.sync_all()
    }

    fn drop_cached_pages(&mut self, file: &Path) -> io::Result<()> {
        mark::drop_cached_pages(file)
    }
}
