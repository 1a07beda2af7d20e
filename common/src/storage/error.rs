//! What can go wrong with a store, classed by who can act on it.
//!
//! Every variant ends the process: a storage error that is survived is how other coordinators lost data. So there is
//! no "retry" class, only an exit code, a stable code to look up, and one line that says what to do next.

use std::io;
use std::path::{Path, PathBuf};

use super::folder::Kind;

/// An error of a store. One line each, naming the file, the record where there is one, and the next step.
#[derive(Debug, thiserror::Error)]
pub enum StorageError {
    /// Another process holds the folder. Two writers on one log would each believe their own decisions.
    #[error("{}: in use by another process; stop that one, or start this one on a folder of its own", folder.display())]
    InUse {
        /// The folder, or the store's file where redb's own lock was in the way.
        folder: PathBuf,
    },
    /// A coordinator's folder was opened as a participant's, or the reverse.
    #[error("{}: belongs to a {found}, not to a {wanted}; give each role a folder of its own", file.display())]
    WrongKind {
        /// The file that says so.
        file: PathBuf,
        /// The role it was made for.
        found: Kind,
        /// The role that was asked for.
        wanted: Kind,
    },
    /// The folder was made under another name.
    #[error("{}: was made for '{found}', not for '{wanted}'; start it under its own name or use another folder", file.display())]
    WrongName {
        /// The file that says so.
        file: PathBuf,
        /// The name it was made under.
        found: String,
        /// The name that was asked for.
        wanted: String,
    },
    /// Written by a newer release.
    #[error("{}: format version {found}, this release knows up to {known}; start it with the release that wrote it, or a later one", file.display())]
    UnknownFormat {
        /// The file.
        file: PathBuf,
        /// The version found in it.
        found: u32,
        /// The highest version that this release reads.
        known: u32,
    },
    /// What is stored is not what was written. Never read as "absent", never repaired by dropping.
    #[error("{}{}: damaged: {why}; keep a copy of the folder, then restore it from a backup", file.display(), of_record(record.as_deref()))]
    Damaged {
        /// The file.
        file: PathBuf,
        /// Table and key of the record, where one can be named.
        record: Option<String>,
        /// What was found.
        why: String,
    },
    /// The device ran out of space under the log. What was being written is neither done nor undone: a restart tells.
    #[error("{}: no space left on the device; free some and start again, nothing that was acknowledged is lost", file.display())]
    DiskFull {
        /// The file.
        file: PathBuf,
    },
    /// Any other I/O error. What was being written is neither done nor undone: a restart tells.
    #[error("{}: can't {doing}: {source}; check the device, then start again", file.display())]
    Io {
        /// The file.
        file: PathBuf,
        /// What was tried, as a verb: "read", "sync".
        doing: &'static str,
        /// What the system said.
        source: io::Error,
    },
}

impl StorageError {
    /// Exit code of the process: 6 is a mistake in how it was started, 9 a log that must not be used.
    #[must_use]
    pub const fn exit_code(&self) -> i32 {
        match self {
            Self::InUse { .. } | Self::WrongKind { .. } | Self::WrongName { .. } => 6,
            Self::UnknownFormat { .. } | Self::Damaged { .. } | Self::DiskFull { .. } | Self::Io { .. } => 9,
        }
    }

    /// The stable code that the book explains.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::InUse { .. } => "HF0101",
            Self::WrongKind { .. } => "HF0102",
            Self::WrongName { .. } => "HF0103",
            Self::UnknownFormat { .. } => "HF0104",
            Self::Damaged { .. } => "HF0105",
            Self::DiskFull { .. } => "HF0106",
            Self::Io { .. } => "HF0107",
        }
    }

    /// Damage of a whole file.
    #[must_use]
    pub fn damaged(file: &Path, why: impl Into<String>) -> Self {
        Self::Damaged { file: file.to_owned(), record: None, why: why.into() }
    }

    /// Damage of one record.
    #[must_use]
    pub fn damaged_record(file: &Path, record: impl Into<String>, why: impl Into<String>) -> Self {
        Self::Damaged { file: file.to_owned(), record: Some(record.into()), why: why.into() }
    }

    /// Classes an error of the file system. A file that ends too early, or is no store at all, is damage; no space
    /// (or quota) is its own class because the operator can act on it; the rest is I/O.
    #[must_use]
    pub fn from_io(file: &Path, doing: &'static str, source: io::Error) -> Self {
        let file = file.to_owned();
        match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::DiskFull { file },
            io::ErrorKind::UnexpectedEof | io::ErrorKind::InvalidData => {
                Self::Damaged { file, record: None, why: source.to_string() }
            }
            _ => Self::Io { file, doing, source },
        }
    }

    /// Classes an error of redb, whichever of its types it has.
    #[must_use]
    pub fn from_redb(file: &Path, doing: &'static str, error: impl Into<redb::Error>) -> Self {
        use redb::Error;
        match error.into() {
            Error::Io(source) => Self::from_io(file, doing, source),
            Error::DatabaseAlreadyOpen => Self::InUse { folder: file.to_owned() },
            error @ (Error::PreviousIo | Error::DatabaseClosed | Error::LockPoisoned(_) | Error::ValueTooLarge(_)) => {
                Self::Io { file: file.to_owned(), doing, source: io::Error::other(error.to_string()) }
            }
            // Everything else says that tables, types or pages are not what we wrote.
            error => Self::damaged(file, format!("while it tried to {doing}: {error}")),
        }
    }

    /// Whether the system, not the content, was at fault: then the page cache can't be trusted at the next start.
    #[must_use]
    pub const fn is_device(&self) -> bool {
        matches!(self, Self::DiskFull { .. } | Self::Io { .. })
    }
}

fn of_record(record: Option<&str>) -> String {
    record.map_or_else(String::new, |record| format!(", record {record}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_variant_has_its_code_and_one_line() {
        let file = PathBuf::from("log.redb");
        let all = [
            StorageError::InUse { folder: file.clone() },
            StorageError::WrongKind { file: file.clone(), found: Kind::Coordinator, wanted: Kind::Participant },
            StorageError::WrongName { file: file.clone(), found: "a".into(), wanted: "b".into() },
            StorageError::UnknownFormat { file: file.clone(), found: 2, known: 1 },
            StorageError::damaged_record(&file, "decisions #7", "checksum"),
            StorageError::DiskFull { file: file.clone() },
            StorageError::Io { file, doing: "sync", source: io::Error::other("gone") },
        ];
        let exits: Vec<_> = all.iter().map(StorageError::exit_code).collect();
        assert_eq!(exits, [6, 6, 6, 9, 9, 9, 9]);
        for (at, error) in all.iter().enumerate() {
            assert_eq!(error.code(), format!("HF01{:02}", at + 1));
            let line = error.to_string();
            assert!(line.starts_with("log.redb") && !line.contains('\n') && line.contains("; "), "{line}");
        }
        assert!(all[4].to_string().contains("record decisions #7"));
    }

    #[test]
    fn no_space_is_recognised_through_redb() {
        let full = || io::Error::from_raw_os_error(rustix::io::Errno::NOSPC.raw_os_error());
        let file = Path::new("x");
        assert!(matches!(StorageError::from_io(file, "write", full()), StorageError::DiskFull { .. }));
        let redb = redb::StorageError::Io(full());
        assert!(matches!(StorageError::from_redb(file, "write", redb), StorageError::DiskFull { .. }));
        let eio = io::Error::from_raw_os_error(rustix::io::Errno::IO.raw_os_error());
        assert!(matches!(StorageError::from_io(file, "write", eio), StorageError::Io { .. }));
        let corrupted = redb::StorageError::Corrupted("x".into());
        assert!(matches!(StorageError::from_redb(file, "write", corrupted), StorageError::Damaged { .. }));
    }
}
