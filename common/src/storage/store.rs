//! A redb file that is made once, verified at every open, and never written again after an error.
//!
//! Call order: [`Store::open`] (under a locked [`Folder`]), then any number of [`Store::write`] and [`Store::read`],
//! then [`Store::close`]. Any error of any of them ends the use of the store: it is *shut*, later calls fail, nothing
//! is written any more, and the process is expected to [`stop`](super::guard::stop).

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use redb::{Database, Durability, ReadTransaction, ReadableDatabase, StorageBackend, WriteTransaction};
use uuid::Uuid;

use super::counted::Counted;
use super::error::StorageError;
use super::folder::{Folder, Kind};
use super::gate::Gate;
use super::guard::protect;
use super::heads::{Commit, Heads};
use super::hint::{self, Hint};
use super::journal::Journal;
use super::mark::Mark;
use super::meta::Meta;
use super::opening::{self, Verified};
use super::steps::{FileSteps, RealSteps};
use crate::locks::{Lock, Mutex};
use crate::mutants::{self, Mutant};

/// How a commit reaches the disk.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum CommitMode {
    /// Two syncs. A damaged last commit is found by redb itself.
    #[default]
    TwoPhase,
    /// One sync. redb takes a damaged last commit for a torn one and goes back; only the head hint notices.
    OnePhase,
}

/// How to open a store.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Options {
    /// How commits reach the disk.
    pub commit: CommitMode,
    /// Bytes of redb's page cache. A log is read once and then appended to; a data store wants more.
    pub cache_bytes: usize,
    /// Opens a store whose head hint is missing, and makes a new one. Only for an operator's restore: it gives up the
    /// proof that the last commits are there.
    pub accept_missing_hint: bool,
    /// A verification that takes longer than this is worth a line; with [`Duration::MAX`] none is.
    pub slow_check: Duration,
    /// The process goes on after an error of this store, as a simulator's does: what redb held in memory is given back
    /// then, not forgotten. A server's process ends, and must run no destructor that could touch the file or abort.
    pub outlives_errors: bool,
}

impl Options {
    /// Two-phase commits, 32 MiB of cache.
    pub const DEFAULTS: Self = Self {
        commit: CommitMode::TwoPhase,
        cache_bytes: 32 << 20,
        accept_missing_hint: false,
        slow_check: Duration::from_secs(1),
        outlives_errors: false,
    };
}

impl Default for Options {
    fn default() -> Self {
        Self::DEFAULTS
    }
}

/// An open, verified store. Share it in an `Arc`: reads go on beside the one writer.
pub struct Store {
    /// Taken out and forgotten after an error: dropping it would write, or abort.
    database: Option<Database>,
    gate: Gate,
    hint: Mutex<Option<Box<dyn Hint>>>,
    shut: AtomicBool,
    meta: Meta,
    file: Arc<Path>,
    mark: Option<Mark>,
    options: Options,
    created: bool,
    /// The lock must not go before the file is closed.
    _folder: Option<Folder>,
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Store").field("file", &self.file).field("meta", &self.meta).finish_non_exhaustive()
    }
}

impl Store {
    /// Opens the store called `name` in `folder`, or makes it when it never existed.
    ///
    /// `fresh_identity` is only called when a store is made. Verification reads the whole file; nothing is written to
    /// it before all is found well, so a damaged store stays as it was found.
    ///
    /// # Errors
    /// Every [`StorageError`].
    pub fn open(
        folder: &Folder,
        name: &str,
        options: Options,
        fresh_identity: impl FnOnce() -> Uuid,
    ) -> Result<Self, StorageError> {
        Self::open_with(folder, name, options, fresh_identity, &mut RealSteps)
    }

    /// [`Store::open`] with other file steps.
    ///
    /// # Errors
    /// Every [`StorageError`].
    pub fn open_with(
        folder: &Folder,
        name: &str,
        options: Options,
        fresh_identity: impl FnOnce() -> Uuid,
        steps: &mut dyn FileSteps,
    ) -> Result<Self, StorageError> {
        let paths = folder.store(name);
        let created = opening::make_if_absent(folder, &paths, fresh_identity, steps)?;
        let mark = Mark::at(paths.mark.clone());
        let opened = opening::open_file(folder, &paths, &mark, options, steps).and_then(|verified| {
            let mut store = Self::from_verified(verified, Arc::from(paths.file.as_path()), options)?;
            store.mark = Some(mark.clone());
            store.created = created;
            store._folder = Some(folder.clone());
            Ok(store)
        });
        match opened {
            Ok(store) => mark.clear().map(|()| store),
            Err(error) => {
                if error.is_device() {
                    mark.set(&error);
                }
                Err(error)
            }
        }
    }

    /// Makes a store in an empty backend, for a simulator or a test. What a kill leaves of an unfinished creation does
    /// not open: on disk the temporary name covers that, here the caller does.
    ///
    /// # Errors
    /// `Damaged` when the backend is not empty, `Io`, `DiskFull`.
    pub fn create_over(
        backend: impl StorageBackend,
        mut hint: Option<&mut dyn Hint>,
        label: &str,
        (kind, name): (Kind, &str),
        identity: Uuid,
    ) -> Result<(), StorageError> {
        let file = Path::new(label);
        let meta = Meta { kind, name: name.to_owned(), identity };
        let commit = opening::create(Box::new(backend), file, &meta)?;
        if let Some(hint) = &mut hint {
            let bytes = hint::encode(identity, commit);
            hint.save(&bytes).map_err(|e| StorageError::from_io(file, "write the head hint", e))?;
        }
        Ok(())
    }

    /// Opens and verifies a store in a backend that holds one. `label` stands for the file in errors.
    ///
    /// # Errors
    /// Every [`StorageError`] but those of folders.
    pub fn open_over(
        backend: impl StorageBackend,
        hint: Option<Box<dyn Hint>>,
        label: &str,
        owner: (Kind, &str),
        options: Options,
    ) -> Result<Self, StorageError> {
        Self::open_boxed(Box::new(backend), hint, Path::new(label), owner, options)
    }

    pub(super) fn open_boxed(
        backend: Box<dyn StorageBackend>,
        hint: Option<Box<dyn Hint>>,
        label: &Path,
        owner: (Kind, &str),
        options: Options,
    ) -> Result<Self, StorageError> {
        let file: Arc<Path> = Arc::from(label);
        let verified = opening::verify(backend, hint, &file, owner, options)?;
        Self::from_verified(verified, file, options)
    }

    fn from_verified(verified: Verified, file: Arc<Path>, options: Options) -> Result<Self, StorageError> {
        let Verified { database, gate, hint, meta, commit } = verified;
        let store = Self {
            database: Some(database),
            gate,
            hint: Mutex::new(Lock::Hint, hint),
            shut: AtomicBool::new(false),
            meta,
            file,
            mark: None,
            options,
            created: false,
            _folder: None,
        };
        // A kill between a commit and its hint leaves the hint one behind.
        store.save_hint(commit).map_err(|error| store.fail(error))?;
        Ok(store)
    }

    /// Drawn once, when the store was made.
    #[must_use]
    pub const fn identity(&self) -> Uuid {
        self.meta.identity
    }

    /// Whether this very open made it.
    #[must_use]
    pub const fn was_created(&self) -> bool {
        self.created
    }

    /// The file, as errors name it.
    #[must_use]
    pub fn file(&self) -> &Path {
        &self.file
    }

    /// redb's handle, for statistics. A commit must not go past [`Store::write`]: its heads would not be sealed, and
    /// the next open would call that damage.
    ///
    /// # Panics
    /// Never: the handle leaves only when the store is dropped.
    #[must_use]
    pub fn database(&self) -> &Database {
        self.database.as_ref().expect("it leaves only with the store")
    }

    /// A journal in this file. Names are letters and dashes, chosen by us, one use each.
    #[must_use]
    pub fn journal(&self, name: &str) -> Journal {
        Journal::new(name, self.file.clone())
    }

    /// A key-value table in this file.
    #[must_use]
    pub fn counted(&self, name: &str) -> Counted {
        Counted::new(name, self.file.clone())
    }

    /// Runs `work` in a write transaction and commits it. When this returns `Ok`, all of it is on disk, and a later
    /// start that did not find it would refuse to run.
    ///
    /// Waits while another thread writes; calling it from within `work` never returns.
    ///
    /// # Errors
    /// Any. What was written may or may not be there after the next start: nothing may be said about it.
    pub fn write<T>(&self, work: impl FnOnce(&WriteTransaction) -> Result<T, StorageError>) -> Result<T, StorageError> {
        let writing = self.begin_write()?;
        let value = protect(&self.file, || work(&writing)).map_err(|error| self.fail(error))?;
        writing.commit()?;
        Ok(value)
    }

    /// Runs `work` on a snapshot.
    ///
    /// # Errors
    /// Any: a store that can't be read must not be written either.
    pub fn read<T>(&self, work: impl FnOnce(&ReadTransaction) -> Result<T, StorageError>) -> Result<T, StorageError> {
        self.usable()?;
        protect(&self.file, || {
            let begun = self.database().begin_read();
            work(&begun.map_err(|e| StorageError::from_redb(&self.file, "begin to read", e))?)
        })
        .map_err(|error| self.fail(error))
    }

    /// Begins a write transaction, durable at its commit. [`Store::write`] is the safer way: here the caller sees to
    /// the guard.
    ///
    /// # Errors
    /// Any.
    pub fn begin_write(&self) -> Result<Writing<'_>, StorageError> {
        self.usable()?;
        let begun = protect(&self.file, || {
            let wrong = |e: redb::Error| StorageError::from_redb(&self.file, "begin to write", e);
            let mut txn = self.database().begin_write().map_err(|e| wrong(e.into()))?;
            txn.set_durability(self.durability()).map_err(|e| wrong(e.into()))?;
            let torn = mutants::is(Mutant::TornTailIsTaken);
            txn.set_two_phase_commit(self.options.commit == CommitMode::TwoPhase && !torn);
            Ok(txn)
        });
        let txn = begun.map_err(|error| self.fail(error))?;
        Ok(Writing { store: self, txn: Some(txn) })
    }

    fn durability(&self) -> Durability {
        let skipped = match self.meta.kind {
            Kind::Coordinator => Mutant::DecisionIsNotSynced,
            Kind::Participant => Mutant::PrepareIsNotSynced,
        };
        if mutants::is(skipped) { Durability::None } else { Durability::Immediate }
    }

    /// Closes the file in order. Dropping the store does the same, but can't tell of an error.
    ///
    /// # Errors
    /// `Io`, `DiskFull`, `Damaged`. What was committed before stays committed.
    pub fn close(mut self) -> Result<(), StorageError> {
        self.usable()?;
        self.shut_down()
    }

    /// Whether an error ended the use of this store.
    #[must_use]
    pub fn is_shut(&self) -> bool {
        self.shut.load(Ordering::SeqCst)
    }

    fn usable(&self) -> Result<(), StorageError> {
        if self.is_shut() {
            let source = std::io::Error::other("it was shut after an earlier error");
            return Err(StorageError::Io { file: self.file.to_path_buf(), doing: "use the store", source });
        }
        Ok(())
    }

    /// Shuts the store, and leaves the mark where the device was at fault. Returns the error to pass on: the first one
    /// of the device, if there was one, because redb tells it only once.
    fn fail(&self, error: StorageError) -> StorageError {
        if self.shut.swap(true, Ordering::SeqCst) {
            // A second thread that ran into the shut gate has nothing new to tell.
            return error;
        }
        self.gate.shut();
        let error = match self.gate.take_failure() {
            Some(failure) => StorageError::from_io(&self.file, failure.doing, failure.source),
            None => error,
        };
        if let Some(mark) = self.mark.as_ref().filter(|_| error.is_device()) {
            mark.set(&error);
        }
        error
    }

    fn save_hint(&self, commit: Commit) -> Result<(), StorageError> {
        let mut hint = self.hint.lock();
        let Some(hint) = hint.as_mut() else { return Ok(()) };
        let bytes = hint::encode(self.meta.identity, commit);
        hint.save(&bytes).map_err(|e| StorageError::from_io(&self.file, "write the head hint", e))
    }

    fn shut_down(&mut self) -> Result<(), StorageError> {
        let Some(database) = self.database.take() else { return Ok(()) };
        if self.is_shut() || std::thread::panicking() {
            self.gate.shut();
            let_go(&self.file, self.options, database);
            return Ok(());
        }
        let closed = protect(&self.file, || {
            drop(database);
            Ok(())
        });
        // redb tells no error of a closing; the gate does.
        let failed = self.gate.take_failure();
        let failed = failed.map(|failure| StorageError::from_io(&self.file, failure.doing, failure.source));
        match failed.map_or(closed, Err) {
            Ok(()) => Ok(()),
            Err(error) => Err(self.fail(error)),
        }
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        if let Err(error) = self.shut_down() {
            tracing::error!(code = error.code(), "{error}");
        }
    }
}

/// Lets go of a handle of redb's after an error, once the gate is shut: nothing it does reaches the file.
pub(super) fn let_go<T>(file: &Path, options: Options, handle: T) {
    if !options.outlives_errors || std::thread::panicking() {
        return std::mem::forget(handle);
    }
    let _ = protect(file, || {
        drop(handle);
        Ok(())
    });
}

/// A write transaction of a [`Store`]; it reads as redb's. Dropped without [`Writing::commit`], it never happened.
pub struct Writing<'store> {
    store: &'store Store,
    /// Taken out by the commit, or forgotten when the store was shut.
    txn: Option<WriteTransaction>,
}

impl Writing<'_> {
    /// Seals the heads, commits, and writes the head hint. Only after it returned `Ok` may anything be said.
    ///
    /// # Errors
    /// Any, and then nobody knows whether it was committed: the store is shut, the process stops.
    pub fn commit(mut self) -> Result<(), StorageError> {
        let store = self.store;
        store.usable()?;
        let Some(txn) = self.txn.take() else { return Ok(()) };
        let file = &store.file;
        let sealed = protect(file, || Heads::open(&txn, file)?.seal());
        let commit = match sealed {
            Ok(commit) => commit,
            Err(error) => {
                let error = store.fail(error);
                let_go(file, store.options, txn);
                return Err(error);
            }
        };
        protect(file, || txn.commit().map_err(|e| StorageError::from_redb(file, "commit", e)))
            .map_err(|error| store.fail(error))?;
        // redb survives some failed writes; we don't: what the device refused once may be missing after power loss.
        if let Some(failure) = store.gate.take_failure() {
            return Err(store.fail(StorageError::from_io(file, failure.doing, failure.source)));
        }
        store.save_hint(commit).map_err(|error| store.fail(error))
    }
}

impl std::ops::Deref for Writing<'_> {
    type Target = WriteTransaction;

    fn deref(&self) -> &WriteTransaction {
        self.txn.as_ref().expect("it leaves only with the commit")
    }
}

impl Drop for Writing<'_> {
    fn drop(&mut self) {
        let Some(txn) = self.txn.take() else { return };
        if self.store.is_shut() || std::thread::panicking() {
            let_go(&self.store.file, self.store.options, txn);
            return;
        }
        let file = &self.store.file;
        let aborted = protect(file, || txn.abort().map_err(|e| StorageError::from_redb(file, "roll back", e)));
        if let Err(error) = aborted {
            let error = self.store.fail(error);
            tracing::error!(code = error.code(), "{error}");
        }
    }
}
