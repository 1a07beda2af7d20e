//! The redb log: the conformance suite, restarts, and what damage looks like.

mod faults;

use std::path::Path;
use std::sync::mpsc;
use std::time::Duration;
use std::{fs, io};

use uuid::Uuid;

use handfast_common::ids::{Epoch, Incarnation, Name, Nonce, RecordNumber, StoreId};
use handfast_common::storage::{CommitMode, Folder, Kind, StorageError};

use super::{DecisionLog, Entry, LogOptions, LogWorker, RedbLog, conformance};
use crate::protocol::{Config, Coordinator, OperatorAct, Record, Registration};

fn open(path: &Path, commit: CommitMode) -> Result<RedbLog, StorageError> {
    let folder = Folder::lock(path, Kind::Coordinator, "coordinator")?;
    RedbLog::open(&folder, LogOptions { commit, ..LogOptions::default() }, Uuid::new_v4)
}

fn epoch(number: u64) -> Entry {
    let record = Record::Epoch { epoch: Epoch(number), nonce: Nonce(number), decisions: 0 };
    Entry { number: RecordNumber(number), record, erase: Vec::new() }
}

#[test]
fn the_redb_log_conforms_in_both_commit_modes() {
    for commit in [CommitMode::TwoPhase, CommitMode::OnePhase] {
        conformance::check_all(|| {
            let folder = tempfile::tempdir().expect("a folder");
            move || open(folder.path(), commit).expect("the log opens")
        });
    }
}

#[test]
fn a_second_process_on_the_same_folder_is_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let _first = open(folder.path(), CommitMode::TwoPhase).expect("the log opens");
    let second = open(folder.path(), CommitMode::TwoPhase);
    assert!(matches!(second, Err(StorageError::InUse { .. })), "{second:?}");
}

#[test]
fn a_record_under_another_transaction_is_damage_that_names_it() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut log = open(folder.path(), CommitMode::TwoPhase).expect("the log opens");
    log.write(&[epoch(1)]).expect("a write");
    let bytes = handfast_common::codec::encode(&epoch(2).record).expect("encodable");
    let wrong = [(2, Uuid::from_u128(77), bytes)];
    log.store.write(|txn| log.journal.append(txn, &wrong, &[])).expect("a write");
    let error = log.read_all().expect_err("damage");
    assert_eq!(error.exit_code(), 9);
    assert!(error.to_string().contains("decision 2"), "{error}");
}

#[test]
fn f10_an_append_is_never_cut_in_the_middle_whoever_waits_for_it() {
    // The one who appends may vanish at any time: what was handed over is written all the same.
    let folder = tempfile::tempdir().expect("a folder");
    let log = open(folder.path(), CommitMode::TwoPhase).expect("the log opens");
    let worker = LogWorker::spawn(log, |_| {}, |error| panic!("{error}")).expect("a thread");
    for number in 1..=100 {
        worker.append(epoch(number), number % 3 == 0);
    }
    drop(worker);
    let found = open(folder.path(), CommitMode::TwoPhase).expect("reopens").read_all().expect("sound");
    assert_eq!(found.records.len(), 100);
}

#[test]
fn f02_nothing_is_reported_forced_before_it_is_on_disk() {
    let folder = tempfile::tempdir().expect("a folder");
    let log = open(folder.path(), CommitMode::TwoPhase).expect("the log opens");
    let (forced, reports) = mpsc::channel();
    let file = folder.path().join("coordinator.redb");
    let image = folder.path().join("image");
    let worker = LogWorker::spawn(log, move |number| forced.send(number).unwrap_or(()), |error| panic!("{error}"));
    let worker = worker.expect("a thread");
    for number in 1..=5 {
        worker.append(epoch(number), true);
        assert_eq!(reports.recv_timeout(Duration::from_secs(10)), Ok(RecordNumber(number)));
        // What a kill would leave at this moment.
        fs::create_dir_all(&image).expect("a folder");
        fs::copy(&file, image.join("coordinator.redb")).expect("a copy");
        fs::copy(folder.path().join("coordinator.redb.head"), image.join("coordinator.redb.head")).expect("a copy");
        let found = open(&image, CommitMode::TwoPhase).expect("opens").read_all().expect("sound");
        assert_eq!(found.last_number, RecordNumber(number));
    }
}

#[test]
fn f03_f04_an_ambiguous_write_ends_the_log_and_is_never_reported() {
    /// Writes, then says that it failed: as an error of the disk after the bytes arrived would look.
    struct Ambiguous(RedbLog);
    impl DecisionLog for Ambiguous {
        fn write(&mut self, batch: &[Entry]) -> Result<(), StorageError> {
            self.0.write(batch)?;
            Err(StorageError::from_io(Path::new("log"), "sync", io::Error::other("lost contact")))
        }
        fn read_all(&mut self) -> Result<super::Recovered, StorageError> {
            self.0.read_all()
        }
    }
    let folder = tempfile::tempdir().expect("a folder");
    let log = Ambiguous(open(folder.path(), CommitMode::TwoPhase).expect("the log opens"));
    let (forced, reports) = mpsc::channel();
    let (fatal, errors) = mpsc::channel();
    let worker = LogWorker::spawn(
        log,
        move |n| forced.send(n).unwrap_or(()),
        move |error| fatal.send(error.exit_code()).unwrap_or(()),
    );
    let worker = worker.expect("a thread");
    worker.append(epoch(1), true);
    assert_eq!(errors.recv_timeout(Duration::from_secs(10)), Ok(9));
    worker.append(epoch(2), true);
    drop(worker);
    assert!(reports.try_recv().is_err(), "a failed write was reported");
}

#[test]
fn records_of_every_kind_survive_a_restart() {
    let folder = tempfile::tempdir().expect("a folder");
    let registration = Registration {
        name: Name::new("bank-a").expect("a name"),
        store: StoreId(Uuid::from_u128(5)),
        incarnation: Some(Incarnation(3)),
        sequence: 9,
        address: "127.0.0.1:1".to_owned(),
    };
    let registered = Entry { number: RecordNumber(2), record: Record::Participant(registration), erase: Vec::new() };
    let batch = [epoch(1), registered];
    open(folder.path(), CommitMode::TwoPhase).expect("opens").write(&batch).expect("a write");
    let found = open(folder.path(), CommitMode::TwoPhase).expect("reopens").read_all().expect("sound");
    let expected: Vec<_> = batch.iter().map(|entry| (entry.number, entry.record.clone())).collect();
    assert_eq!(found.records, expected);
}

#[test]
fn t06_a_removal_and_the_entry_it_erases_are_one_write_and_a_restart_finds_both_done() {
    let folder = tempfile::tempdir().expect("a folder");
    let name = Name::new("bank-a").expect("a name");
    let registration = Registration {
        name: name.clone(),
        store: StoreId(Uuid::from_u128(5)),
        incarnation: Some(Incarnation(3)),
        sequence: 9,
        address: "127.0.0.1:1".to_owned(),
    };
    let entry = |number, record, erase| Entry { number: RecordNumber(number), record, erase };
    let operator = |act| Record::Operator { act, reason: "burnt".to_owned() };
    let batch = [
        epoch(1),
        entry(2, Record::Participant(registration.clone()), Vec::new()),
        entry(3, operator(OperatorAct::Released { name: name.clone(), epoch: Epoch(1) }), Vec::new()),
        entry(4, operator(OperatorAct::Removed(registration)), vec![RecordNumber(2)]),
    ];
    open(folder.path(), CommitMode::TwoPhase).expect("opens").write(&batch).expect("a write");
    let found = open(folder.path(), CommitMode::TwoPhase).expect("reopens").read_all().expect("sound");
    let numbers: Vec<u64> = found.records.iter().map(|(number, _)| number.0).collect();
    assert_eq!(numbers, vec![1, 3, 4]);
    let recovered = Coordinator::recover(Config::default(), found.log, Nonce(7), found.records, found.last_number);
    let lines = recovered.expect("sound").0.registry().lines;
    assert_eq!(lines.iter().map(|line| (&line.name, line.state.as_str())).collect::<Vec<_>>(), [(&name, "removed")]);
}

#[test]
fn a_flood_of_lazy_records_is_taken_whole_while_a_write_is_on_its_way() {
    /// Writes nothing until it is told to, then remembers how much it was given.
    struct Held(mpsc::Receiver<()>, std::sync::Arc<std::sync::atomic::AtomicU64>);
    impl DecisionLog for Held {
        fn write(&mut self, batch: &[Entry]) -> Result<(), StorageError> {
            // The end of the sender lets all later writes pass.
            self.0.recv().unwrap_or(());
            self.1.fetch_add(batch.len() as u64, std::sync::atomic::Ordering::Relaxed);
            Ok(())
        }
        fn read_all(&mut self) -> Result<super::Recovered, StorageError> {
            Err(StorageError::damaged(Path::new("log"), "nothing is read back here"))
        }
    }
    let written = std::sync::Arc::new(std::sync::atomic::AtomicU64::new(0));
    let (go, held) = mpsc::channel();
    let log = Held(held, written.clone());
    let worker = LogWorker::spawn(log, |_| {}, |error| panic!("{error}")).expect("a thread");
    // As many End records as acknowledgements after a restart with more in doubt than any queue would be made for.
    const FLOOD: u64 = 200_000;
    for number in 1..=FLOOD {
        worker.append(epoch(number), false);
    }
    drop(go);
    drop(worker);
    assert_eq!(written.load(std::sync::atomic::Ordering::Relaxed), FLOOD);
}
