//! Writes that fail, bytes that rot, and a page cache that lies: what the next start makes of them.

use std::fs::{self, File};
use std::io;
use std::path::Path;
use std::sync::mpsc;
use std::time::Duration;

use uuid::Uuid;

use handfast_common::ids::{
    Age, ContentHash, Epoch, Incarnation, Key, LogId, Name, Nonce, RecordNumber, StoreId, Ticket, TxnId, Xid,
};
use handfast_common::messages::{
    Answer, AskOutcome, BranchWork, FromParticipant, Identity, Inquiry, InquiryAnswer, Micros, Order, Register, Submit,
    ToParticipant, Told, Welcome,
};
use handfast_common::outcome::{BranchReads, Decision, Outcome, Payload, Vote};
use handfast_common::storage::{
    CommitMode, FileSteps, Folder, Kind, Options, RealSteps, StorageError, Store, StorePaths,
};

use super::{epoch, open};
use crate::log::{DecisionLog, Entry, LogWorker, Recovered, RedbLog};
use crate::protocol::{Commit, Config, Coordinator, Effect, Input, Record, ReplyTo, Updating};

/// Fails the write that carries a Commit record, before or after the bytes are there.
struct FailsAtCommit {
    log: RedbLog,
    writes_it: bool,
    failed: bool,
}

impl DecisionLog for FailsAtCommit {
    fn write(&mut self, batch: &[Entry]) -> Result<(), StorageError> {
        assert!(!self.failed, "a log that has failed is used again");
        self.failed = batch.iter().any(|entry| matches!(entry.record, Record::Commit(_)));
        if !self.failed || self.writes_it {
            self.log.write(batch)?;
        }
        if !self.failed {
            return Ok(());
        }
        Err(StorageError::from_io(Path::new("log"), "sync", io::Error::other("EIO")))
    }
    fn read_all(&mut self) -> Result<Recovered, StorageError> {
        self.log.read_all()
    }
}

/// A coordinator on its log, and what it has said.
struct Node {
    machine: Coordinator,
    worker: LogWorker,
    forced: mpsc::Receiver<RecordNumber>,
    failed: mpsc::Receiver<i32>,
    said: Vec<Effect>,
}

impl Node {
    fn start(mut log: impl DecisionLog, nonce: u64) -> Self {
        let Recovered { log: identity, records, last_number } = log.read_all().expect("sound");
        let recovered = Coordinator::recover(Config::default(), identity, Nonce(nonce), records, last_number);
        let (machine, effects) = recovered.expect("a log of this machine");
        let ((forced, reports), (fatal, failed)) = (mpsc::channel(), mpsc::channel());
        let worker = LogWorker::spawn(
            log,
            move |number| forced.send(number).unwrap_or(()),
            move |error| fatal.send(error.exit_code()).unwrap_or(()),
        );
        let mut node = Self { machine, worker: worker.expect("a thread"), forced: reports, failed, said: Vec::new() };
        node.carry_out(effects);
        node
    }

    fn step(&mut self, input: Input) {
        let effects = self.machine.step(input);
        self.carry_out(effects);
    }

    /// As the server does it: what was handed to the log is waited for, and speech goes out at once.
    fn carry_out(&mut self, effects: Vec<Effect>) {
        let mut due = None;
        for effect in effects {
            match effect {
                Effect::Append { number, record, erase, force } => {
                    self.worker.append(Entry { number, record, erase }, force);
                    due = if force { Some(number) } else { due };
                }
                Effect::Stop { why } => panic!("{why}"),
                other => self.said.push(other),
            }
        }
        while let Some(number) = due {
            // Either a receipt or the error that ends it: one of them comes.
            match self.forced.recv_timeout(Duration::from_secs(10)) {
                Ok(upto) => {
                    due = due.filter(|_| upto < number);
                    let effects = self.machine.step(Input::RecordsForced { upto });
                    self.carry_out(effects);
                }
                Err(_) => return,
            }
        }
    }

    fn hear(&mut self, n: u64, answer: Answer) {
        let name = identity(n).name;
        self.step(Input::AnswerReceived { name, message: FromParticipant { from: identity(n), answer } });
    }

    fn greet(&mut self, n: u64) {
        self.step(Input::PeerConnected { name: identity(n).name });
        self.hear(n, Answer::Welcome(Welcome { unconfirmed: Vec::new(), complete: true, remembers: true }));
    }

    fn inquire(&mut self, n: u64, xid: Xid) -> InquiryAnswer {
        let members = vec![identity(1).name, identity(2).name];
        let inquiry = Inquiry { from: identity(n), xid, members };
        self.step(Input::DecisionInquired { reply: ReplyTo(n), inquiry });
        match self.said.pop() {
            Some(Effect::ReplyInquiry { answer, .. }) => answer,
            other => panic!("{other:?}"),
        }
    }

    fn ask(&mut self, ticket: Ticket) -> Told {
        let participants = vec![identity(1).name, identity(2).name];
        let question = AskOutcome { key: KEY, ticket: Some(ticket), participants };
        self.step(Input::OutcomeAsked { reply: ReplyTo(9), question });
        match self.said.pop() {
            Some(Effect::Reply { told, .. }) => told,
            other => panic!("{other:?}"),
        }
    }

    /// Whether anything was said that tells of a commit.
    fn tells_of_a_commit(&self) -> bool {
        self.said.iter().any(|effect| match effect {
            Effect::Reply { .. } => true,
            Effect::Send { message: ToParticipant { from, order }, .. } => {
                from.decisions > 0 || matches!(order, Order::Decide { .. })
            }
            _ => false,
        })
    }
}

const KEY: Key = Key(Uuid::from_u128(0xA));

fn identity(n: u64) -> Identity {
    let store = StoreId(Uuid::from_u128(0x50 + u128::from(n)));
    let name = Name::new(format!("p{n}")).expect("a name");
    Identity { name, store, incarnation: Incarnation(1), sequence: 1, clock: Age(0) }
}

/// Runs a transaction over two participants into the failing write; its id and its client's ticket.
fn run_into_the_failure(node: &mut Node) -> (Xid, Ticket) {
    for n in 1..=2 {
        let register = Register { from: identity(n), address: format!("host:{n}"), seen: None };
        node.step(Input::ParticipantRegistered { reply: ReplyTo(n), register });
        node.greet(n);
    }
    let (log, epoch, nonce, sequence) = node.machine.standing();
    let ticket = Ticket { log, epoch, nonce, sequence };
    let work = |n| BranchWork { participant: identity(n).name, work: Payload(b"work".to_vec()) };
    let branches = vec![work(1), work(2)];
    let request = Submit { key: KEY, ticket, age: None, clock: Age(0), wait: Micros(1_000_000), branches };
    node.step(Input::TransactionSubmitted { reply: ReplyTo(7), request, hash: ContentHash([1; 32]) });
    let xid = Xid { log, txn: TxnId::new(log, epoch, sequence + 1, nonce), nonce };
    for n in 1..=2 {
        node.hear(n, Answer::Voted { xid, vote: Vote::Yes(Payload::default()) });
    }
    (xid, ticket)
}

#[test]
fn f01_a_failed_decision_write_is_never_swallowed() {
    for writes_it in [false, true] {
        let place = tempfile::tempdir().expect("a folder");
        let paths = paths_in(place.path());
        let log = open(place.path(), CommitMode::TwoPhase).expect("the log opens");
        let mut node = Node::start(FailsAtCommit { log, writes_it, failed: false }, 1);
        let (xid, ticket) = run_into_the_failure(&mut node);
        // No receipt, an error that ends the process, and not a word.
        assert_eq!(node.failed.recv_timeout(Duration::from_secs(10)), Ok(9));
        assert!(!node.tells_of_a_commit(), "{:?}", node.said);
        // Nor is anything guessed while the process ends: neither way.
        assert_eq!([node.inquire(1, xid), node.inquire(2, xid)], [InquiryAnswer::Undecided, InquiryAnswer::Undecided]);
        assert!(matches!(node.ask(ticket), Told::Pending { .. }));
        // What the end of the process leaves: the failed log itself is never closed in order.
        let (store, hint) = files(&paths);
        let place = tempfile::tempdir().expect("a folder");
        let paths = paths_in(place.path());
        fs::write(&paths.file, store).expect("a copy");
        fs::write(&paths.hint, hint).expect("a copy");

        // The next start reads what is there. One participant hears of it, then the process dies once more.
        let mut answers = Vec::new();
        for n in 1..=2 {
            let mut node = Node::start(open(place.path(), CommitMode::TwoPhase).expect("the log opens"), 1 + n);
            node.greet(1);
            node.greet(2);
            answers.push(node.inquire(n, xid));
            let told = match node.ask(ticket) {
                Told::Outcome { outcome: Outcome::Committed(_), .. } => Decision::Commit,
                Told::Outcome { outcome: Outcome::Aborted(_), .. } => Decision::Abort,
                other => panic!("{other:?}"),
            };
            answers.push(InquiryAnswer::Decided(told));
            if told == Decision::Commit {
                node.hear(n, Answer::Acknowledged { xid });
            }
        }
        let decided = InquiryAnswer::Decided(if writes_it { Decision::Commit } else { Decision::Abort });
        assert_eq!(answers, vec![decided; 4], "the client and both participants hear the same");
    }
}

/// The Commit record of transaction `n` of epoch 1.
fn commit_record(number: u64, n: u64) -> Entry {
    let log = LogId(Uuid::from_u128(1));
    let txn = TxnId::new(log, Epoch(1), n, Nonce(1));
    let branches = [1, 2].map(identity).map(|who| Updating { participant: who.name, store: who.store, sequence: 1 });
    let reads = BranchReads { participant: identity(1).name, reads: Payload(vec![n as u8; 600]) };
    let commit = Commit {
        xid: Xid { log, txn, nonce: Nonce(1) },
        decision: n,
        key: Key(Uuid::from_u128(n.into())),
        hash: ContentHash([2; 32]),
        branches: branches.to_vec(),
        reads: vec![reads],
    };
    Entry { number: RecordNumber(number), record: Record::Commit(commit), erase: Vec::new() }
}

/// The log's files; its folder must not be locked now.
fn paths_in(place: &Path) -> StorePaths {
    Folder::lock(place, Kind::Coordinator, "coordinator").expect("a folder").store("coordinator")
}

/// Store and head hint as a kill would leave them now.
fn files(paths: &StorePaths) -> (Vec<u8>, Vec<u8>) {
    (fs::read(&paths.file).expect("the store"), fs::read(&paths.hint).expect("its hint"))
}

/// Small numbers that look random and are the same in every run.
fn draws(mut state: u64) -> impl FnMut(usize) -> usize {
    move |below| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from((state >> 33) % below as u64).expect("small")
    }
}

#[test]
fn t03_a_decision_that_rotted_is_never_taken_for_absent() {
    const PAGE: usize = 4_096;
    const FLIPS: usize = 180;
    for mode in [CommitMode::TwoPhase, CommitMode::OnePhase] {
        let place = tempfile::tempdir().expect("a folder");
        let paths = paths_in(place.path());
        let mut log = open(place.path(), mode).expect("the log opens");
        log.write(&[epoch(1)]).expect("a write");
        for n in 1..=20 {
            log.write(&[commit_record(n + 1, n)]).expect("a write");
        }
        let (before, _) = files(&paths);
        log.write(&[commit_record(22, 21)]).expect("a write");
        let (after, hint) = files(&paths);
        let written = log.read_all().expect("sound").records;
        drop(log);

        // The record itself, the bytes that the last batch changed, and the pages that they are in.
        let reads = [21; 600];
        let record: Vec<usize> = (0..after.len() - reads.len()).filter(|at| after[*at..].starts_with(&reads)).collect();
        assert_eq!(record.len(), 1, "the record stands in the file once");
        let changed: Vec<usize> = (0..after.len()).filter(|at| before.get(*at) != Some(&after[*at])).collect();
        let mut pages: Vec<usize> = changed.iter().map(|at| at / PAGE).collect();
        pages.dedup();
        let mut draw = draws(3);
        let mut refused = 0;
        for flip in 0..FLIPS {
            let byte = match flip % 3 {
                0 => pages[draw(pages.len())] * PAGE + draw(PAGE),
                1 => changed[draw(changed.len())],
                _ => record[0] + draw(reads.len()),
            };
            let bit = draw(8);
            let mut rotten = after.clone();
            rotten[byte] ^= 1 << bit;
            fs::write(&paths.file, &rotten).expect("a copy");
            fs::write(&paths.hint, &hint).expect("a copy");
            match open(place.path(), mode).and_then(|mut log| log.read_all()) {
                Ok(found) => {
                    assert!(flip % 3 != 2, "{mode:?}: bit {bit} of byte {byte} is in the record and was not noticed");
                    assert_eq!(found.records, written, "{mode:?}: bit {bit} of byte {byte}");
                }
                Err(StorageError::Damaged { .. }) => refused += 1,
                Err(other) => panic!("{mode:?}: bit {bit} of byte {byte}: {other}"),
            }
        }
        assert!(refused > FLIPS / 3, "{mode:?}: {refused} of {FLIPS} refused: only those in the record");
    }
}

/// Real steps, on a device whose cache holds what its disk does not: dropping the pages shows the disk.
struct Cached<'a> {
    paths: &'a StorePaths,
    disk: Vec<u8>,
    dropped: Vec<&'static str>,
}

impl FileSteps for Cached<'_> {
    fn remove_stale(&mut self, tmp: &Path) -> io::Result<()> {
        RealSteps.remove_stale(tmp)
    }
    fn create(&mut self, tmp: &Path) -> io::Result<File> {
        RealSteps.create(tmp)
    }
    fn sync(&mut self, file: &Path) -> io::Result<()> {
        assert!(!self.paths.mark.exists(), "a sync before the pages are dropped proves nothing");
        RealSteps.sync(file)
    }
    fn make_hint(&mut self, file: &Path, bytes: &[u8]) -> io::Result<()> {
        RealSteps.make_hint(file, bytes)
    }
    fn rename(&mut self, from: &Path, to: &Path) -> io::Result<()> {
        RealSteps.rename(from, to)
    }
    fn sync_folder(&mut self, folder: &Path) -> io::Result<()> {
        RealSteps.sync_folder(folder)
    }
    fn drop_cached_pages(&mut self, file: &Path) -> io::Result<()> {
        assert!(self.paths.mark.exists(), "the mark stays until the store is verified");
        if file == self.paths.file {
            fs::write(file, &self.disk)?;
            self.dropped.push("store");
        } else {
            self.dropped.push("hint");
        }
        RealSteps.drop_cached_pages(file)
    }
}

#[test]
fn t17_after_a_failed_sync_the_mark_is_left_and_pages_are_dropped_before_reading() {
    let place = tempfile::tempdir().expect("a folder");
    let paths = paths_in(place.path());
    let mut log = open(place.path(), CommitMode::TwoPhase).expect("the log opens");
    log.write(&[epoch(1)]).expect("a write");
    let (disk, hint) = files(&paths);
    log.write(&[commit_record(2, 1)]).expect("a write");
    let (cache, _) = files(&paths);
    // The sync fails: the store is not used any more, and says so to the next start.
    let file = paths.file.clone();
    let source = io::Error::from_raw_os_error(5);
    let failed = log.store.write(|_| -> Result<(), _> { Err(StorageError::Io { file, doing: "sync", source }) });
    assert_eq!(failed.map_err(|error| error.exit_code()), Err(9));
    assert!(paths.mark.exists());
    assert!(log.write(&[commit_record(3, 2)]).is_err() && log.read_all().is_err());
    drop(log);

    // The page cache has the Commit, the disk has not, and its hint was never written.
    let reopen = |steps: &mut Cached<'_>| {
        fs::write(&paths.file, &cache).expect("a copy");
        fs::write(&paths.hint, &hint).expect("a copy");
        let folder = Folder::lock(place.path(), Kind::Coordinator, "coordinator").expect("a folder");
        let store = Store::open_with(&folder, "coordinator", Options::DEFAULTS, Uuid::new_v4, steps);
        RedbLog::over(store.expect("sound")).read_all().expect("sound").records.len()
    };
    let mut steps = Cached { paths: &paths, disk, dropped: Vec::new() };
    assert_eq!(reopen(&mut steps), 1, "the start read a ghost");
    assert_eq!(steps.dropped, ["store", "hint"]);
    assert!(!paths.mark.exists(), "the store was verified from the disk");
    // Without a mark nothing is dropped, and the ghost would be read: after a mere kill it is as good as on disk.
    assert_eq!(reopen(&mut steps), 2);
    assert_eq!(steps.dropped.len(), 2);
}
