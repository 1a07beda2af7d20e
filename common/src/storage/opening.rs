//! Making a store, and verifying one before it is used.

use std::fs::{File, OpenOptions};
use std::io;
use std::path::Path;
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread;
use std::time::{Duration, Instant};

use redb::backends::FileBackend;
use redb::{Builder, Database, Durability, ReadableDatabase, StorageBackend};
use uuid::Uuid;

use super::error::StorageError;
use super::folder::{Folder, Kind, StorePaths};
use super::gate::Gate;
use super::guard::protect;
use super::heads::{self, Commit, Heads};
use super::hint::{self, FileHint, Hint};
use super::mark::Mark;
use super::meta::Meta;
use super::steps::FileSteps;
use super::store::{Options, let_go};
use crate::mutants::{self, Mutant};

/// A store that was found well, with its writes let through.
pub(crate) struct Verified {
    pub(crate) database: Database,
    pub(crate) gate: Gate,
    pub(crate) hint: Option<Box<dyn Hint>>,
    pub(crate) meta: Meta,
    pub(crate) commit: Commit,
}

/// Makes the store unless it is there; says whether it did.
///
/// The file gets its name only when it is complete and on disk: a kill before that leaves a temporary file, which the
/// next start removes, and a kill after it leaves a store.
pub(crate) fn make_if_absent(
    folder: &Folder,
    paths: &StorePaths,
    fresh_identity: impl FnOnce() -> Uuid,
    steps: &mut dyn FileSteps,
) -> Result<bool, StorageError> {
    fn at<'a>(file: &'a Path, doing: &'static str) -> impl FnOnce(io::Error) -> StorageError + 'a {
        move |source| StorageError::from_io(file, doing, source)
    }
    steps.remove_stale(&paths.tmp).map_err(at(&paths.tmp, "remove what an unfinished creation left"))?;
    if paths.file.try_exists().map_err(at(&paths.file, "look for the store"))? {
        return Ok(false);
    }
    refuse_to_replace(paths)?;
    let meta = Meta { kind: folder.kind(), name: folder.name().to_owned(), identity: fresh_identity() };
    let tmp = steps.create(&paths.tmp).map_err(at(&paths.tmp, "create"))?;
    let commit = create(file_backend(&paths.tmp, tmp)?, &paths.tmp, &meta)?;
    steps.sync(&paths.tmp).map_err(at(&paths.tmp, "sync"))?;
    let bytes = hint::encode(meta.identity, commit);
    steps.make_hint(&paths.hint, &bytes).map_err(at(&paths.hint, "write the head hint"))?;
    steps.rename(&paths.tmp, &paths.file).map_err(at(&paths.file, "rename"))?;
    steps.sync_folder(folder.path()).map_err(at(folder.path(), "sync the folder"))?;
    Ok(true)
}

/// A head hint without its store is either the rest of an unfinished creation, or all that is left of a store that had
/// records. The second must not be answered with an empty store.
fn refuse_to_replace(paths: &StorePaths) -> Result<(), StorageError> {
    let left = match std::fs::read(&paths.hint) {
        Ok(left) => left,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(source) => return Err(StorageError::from_io(&paths.hint, "read the head hint", source)),
    };
    let never_finished = left.iter().all(|byte| *byte == 0);
    match hint::decode(&left) {
        Some((_, commit)) if commit.number <= 1 => Ok(()),
        None if never_finished => Ok(()),
        Some((_, commit)) => {
            Err(StorageError::damaged(&paths.file, format!("the file is gone, after {} commits", commit.number)))
        }
        None => Err(StorageError::damaged(&paths.file, "the file is gone, and its head hint can't be read")),
    }
}

/// Makes a store in an empty backend and closes it. Always with a two-phase commit: it happens once.
pub(crate) fn create(backend: Box<dyn StorageBackend>, file: &Path, meta: &Meta) -> Result<Commit, StorageError> {
    let len = backend.len().map_err(|e| StorageError::from_io(file, "ask for the length", e))?;
    if len > 0 {
        return Err(StorageError::damaged(file, "a store was to be made where something is already"));
    }
    let gate = Gate::open(backend);
    let wrong = |e: redb::Error| StorageError::from_redb(file, "create", e);
    let mut database = None;
    let made = protect(file, || {
        let database = database.insert(Builder::new().create_with_backend(gate.clone()).map_err(|e| wrong(e.into()))?);
        let mut txn = database.begin_write().map_err(|e| wrong(e.into()))?;
        txn.set_durability(Durability::Immediate).map_err(|e| wrong(e.into()))?;
        txn.set_two_phase_commit(true);
        meta.write(&txn, file)?;
        let commit = Heads::open(&txn, file)?.seal()?;
        txn.commit().map_err(|e| wrong(e.into()))?;
        Ok(commit)
    });
    let closed = made.and_then(|commit| {
        protect(file, || {
            drop(database.take());
            Ok(commit)
        })
    });
    std::mem::forget(database);
    gate.shut();
    match gate.take_failure() {
        Some(failure) => Err(StorageError::from_io(file, failure.doing, failure.source)),
        None => closed,
    }
}

/// Opens the files of a store that exists.
pub(crate) fn open_file(
    folder: &Folder,
    paths: &StorePaths,
    mark: &Mark,
    options: Options,
    steps: &mut dyn FileSteps,
) -> Result<Verified, StorageError> {
    if mark.is_set()? {
        for file in [&paths.file, &paths.hint] {
            match steps.drop_cached_pages(file) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    return Err(StorageError::from_io(file, "drop the cached pages", error));
                }
                _ => {}
            }
        }
        tracing::warn!(file = %paths.file.display(), "ended with an I/O error: it is read from the disk again");
    }
    let hint = open_hint(paths, options)?;
    let hint_is_missing = hint.is_none();
    let file = OpenOptions::new().read(true).write(true).open(&paths.file);
    let file = file.map_err(|e| StorageError::from_io(&paths.file, "open", e))?;
    let owner = (folder.kind(), folder.name());
    let mut verified = verify(file_backend(&paths.file, file)?, hint, &paths.file, owner, options)?;
    if hint_is_missing {
        // As durable as at a creation: from now on its absence is damage again.
        let bytes = hint::encode(verified.meta.identity, verified.commit);
        let made = steps.make_hint(&paths.hint, &bytes).and_then(|()| steps.sync_folder(folder.path()));
        match made.and_then(|()| FileHint::open(&paths.hint)) {
            Ok(hint) => verified.hint = Some(Box::new(hint)),
            Err(source) => {
                verified.gate.shut();
                std::mem::forget(verified.database);
                return Err(StorageError::from_io(&paths.hint, "write the head hint", source));
            }
        }
    }
    Ok(verified)
}

/// `None` when it is missing and that was accepted.
fn open_hint(paths: &StorePaths, options: Options) -> Result<Option<Box<dyn Hint>>, StorageError> {
    match FileHint::open(&paths.hint) {
        Ok(hint) => Ok(Some(Box::new(hint))),
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(StorageError::from_io(&paths.hint, "open the head hint", error))
        }
        Err(_) if options.accept_missing_hint => Ok(None),
        Err(_) => {
            Err(StorageError::damaged(&paths.hint, "the head hint is gone, so nothing shows where the store ended"))
        }
    }
}

/// Verifies a store with all writes held back, then lets them through.
pub(crate) fn verify(
    backend: Box<dyn StorageBackend>,
    mut hint: Option<Box<dyn Hint>>,
    file: &Path,
    owner: (Kind, &str),
    options: Options,
) -> Result<Verified, StorageError> {
    let begun = Instant::now();
    // Without a limit nobody listens: a simulator opens stores by the ten thousand.
    let watched = options.slow_check < Duration::MAX;
    let watch = watched.then(|| Watch::begin(file, options.slow_check.max(Duration::from_millis(100))));
    let gate = Gate::holding(backend).map_err(|e| StorageError::from_io(file, "ask for the length", e))?;
    let mut database = None;
    let found = look(&gate, &mut database, file, owner, options).and_then(|(meta, commit)| {
        check_hint(&mut hint, file, &meta, commit)?;
        gate.release().map_err(|e| StorageError::from_io(file, "write what its opening changed", e))?;
        Ok((meta, commit))
    });
    drop(watch);
    if begun.elapsed() > options.slow_check {
        let seconds = begun.elapsed().as_secs_f32();
        tracing::info!(file = %file.display(), seconds, "verified the store; it reads the whole file at every start");
    }
    match (found, database) {
        (Ok((meta, commit)), Some(database)) => Ok(Verified { database, gate, hint, meta, commit }),
        (found, database) => {
            gate.shut();
            let_go(file, options, database);
            let error = found.err().unwrap_or_else(|| StorageError::damaged(file, "it could not be opened"));
            Err(match gate.take_failure() {
                Some(failure) => StorageError::from_io(file, failure.doing, failure.source),
                None => error,
            })
        }
    }
}

/// Opens and reads; the database is left in `database`, where no unwind drops it.
fn look(
    gate: &Gate,
    database: &mut Option<Database>,
    file: &Path,
    (kind, name): (Kind, &str),
    options: Options,
) -> Result<(Meta, Commit), StorageError> {
    if gate.len().map_err(|e| StorageError::from_io(file, "ask for the length", e))? == 0 {
        // redb would take an emptied file for a new one.
        return Err(StorageError::damaged(file, "it is empty"));
    }
    let wrong = |doing| move |e: redb::DatabaseError| StorageError::from_redb(file, doing, e);
    protect(file, || {
        let opened = Builder::new().set_cache_size(options.cache_bytes).create_with_backend(gate.clone());
        let database = database.insert(opened.map_err(wrong("open"))?);
        // An opening after a clean stop verifies nothing.
        if !mutants::is(Mutant::UnreadableIsAbsent) && !database.check_integrity().map_err(wrong("verify"))? {
            return Err(StorageError::damaged(file, "its pages do not match their checksums or their allocation"));
        }
        let txn = database.begin_read().map_err(|e| StorageError::from_redb(file, "begin to read", e))?;
        let meta = Meta::read(&txn, file)?;
        meta.check_owner(file, kind, name)?;
        Ok((meta, heads::verify(&txn, file)?))
    })
}

fn check_hint(hint: &mut Option<Box<dyn Hint>>, file: &Path, meta: &Meta, commit: Commit) -> Result<(), StorageError> {
    let unread = mutants::is(Mutant::TornTailIsTaken);
    let Some(hint) = hint.as_mut().filter(|_| !unread) else { return Ok(()) };
    let bytes = hint.load().map_err(|e| StorageError::from_io(file, "read the head hint", e))?;
    hint::check(&bytes, meta.identity, commit)
        .map_err(|why| StorageError::damaged_record(file, format!("of its head hint, commit {}", commit.number), why))
}

fn file_backend(path: &Path, file: File) -> Result<Box<dyn StorageBackend>, StorageError> {
    Ok(Box::new(FileBackend::new(file).map_err(|e| StorageError::from_redb(path, "open", e))?))
}

/// Says, while a store is being verified, that it is and for how long: a start that takes its time must not look like
/// one that hangs.
struct Watch {
    /// Dropped with this value: the thread sees it and ends.
    _over: Sender<()>,
}

impl Watch {
    fn begin(file: &Path, every: Duration) -> Self {
        let (over, ended) = mpsc::channel::<()>();
        let file = file.to_owned();
        let watch = move || {
            let begun = Instant::now();
            while ended.recv_timeout(every) == Err(RecvTimeoutError::Timeout) {
                let seconds = begun.elapsed().as_secs_f32();
                tracing::info!(file = %file.display(), seconds, "verifying the store");
            }
        };
        // Without a thread it is verified all the same, in silence.
        if let Err(error) = thread::Builder::new().name("verify-watch".to_owned()).spawn(watch) {
            tracing::debug!(%error, "nobody tells how long it takes");
        }
        Self { _over: over }
    }
}
