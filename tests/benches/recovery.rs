//! How long 10,000 transactions in doubt take to end: `cargo bench -p handfast-tests --bench recovery`.
//!
//! The files are made as a crash of everything would leave them: each of two participants has 10,000 prepared branches,
//! the coordinator's log says Commit to 7,000 of them and nothing of the rest. Then the processes start.

use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use handfast_common::codec;
use handfast_common::ids::{
    Age, ContentHash, Epoch, Incarnation, Key, LogId, Name, Nonce, RecordNumber, StoreId, TxnId, Xid,
};
use handfast_common::messages::{Addressee, Member, Seen};
use handfast_common::operation::{Add, Operation};
use handfast_common::outcome::{Payload, Vote};
use handfast_common::storage::{Folder, Kind, Space, SpaceOptions};
use handfast_coordinator::log::{DecisionLog, Entry, LogOptions, RedbLog};
use handfast_coordinator::protocol::{Commit, Record, Registration, Updating};
use handfast_participant::kv::{KvStore, Options};
use handfast_participant::protocol::{Line, Prepared};
use handfast_participant::resource::{ParticipantLog, ResourceManager, Work};
use handfast_tests::processes::System;
use uuid::Uuid;

const PROGRAM: &str = env!("CARGO_BIN_EXE_handfast-under-test");
const IN_DOUBT: u64 = 10_000;
const COMMITTED: u64 = 7_000;
const LOG: LogId = LogId(Uuid::from_u128(0xfeed));
const NONCE: Nonce = Nonce(7);
const REPEATS: usize = 5;

fn main() -> ExitCode {
    if std::env::args().any(|argument| argument == "--list" || argument == "--test") {
        return ExitCode::SUCCESS;
    }
    let mut seconds: Vec<f64> = (0..REPEATS).map(|_| recover().as_secs_f64()).collect();
    seconds.sort_by(f64::total_cmp);
    println!(
        "{IN_DOUBT} transactions in doubt at each of two participants, {COMMITTED} of them decided:\n  \
         all ended {:.2} s after the last ready line (median of {REPEATS}, from {:.2} to {:.2})",
        seconds[REPEATS / 2],
        seconds[0],
        seconds[REPEATS - 1]
    );
    ExitCode::SUCCESS
}

fn recover() -> Duration {
    let folder = tempfile::tempdir().expect("a folder");
    let names = ["p0", "p1"].map(|name| Name::new(name).expect("a name"));
    let stores = names.clone().map(|name| make_store(folder.path(), &name, &names));
    make_log(&folder.path().join("coordinator"), &names, stores);
    let system = System::start_in(folder, PROGRAM, names.len());
    let last_ready = system.participants.iter().filter_map(|node| node.ready_since()).max().expect("a start");
    while system.participants.iter().any(|node| !system.in_doubt(node).is_empty()) {
        assert!(last_ready.elapsed() < Duration::from_secs(60), "it does not end\n{}", system.logs());
        std::thread::sleep(Duration::from_millis(20));
    }
    let took = last_ready.elapsed();
    for node in &system.participants {
        assert_eq!(system.scan(node, "account/").len() as u64, COMMITTED, "what was decided is there, the rest is not");
    }
    took
}

fn xid(number: u64) -> Xid {
    Xid { log: LOG, txn: TxnId::new(LOG, Epoch(1), number, NONCE), nonce: NONCE }
}

fn seen() -> Seen {
    Seen { epoch: Epoch(1), nonce: NONCE, decisions: 0 }
}

/// A participant's store with all branches prepared; its identity.
fn make_store(folder: &Path, name: &Name, names: &[Name]) -> StoreId {
    let folder = Folder::lock(folder.join(name.as_str()), Kind::Participant, name.as_str()).expect("a folder");
    let space = Arc::new(Space::new(&folder, SpaceOptions::DEFAULTS).expect("a disk"));
    let fatal = |error| panic!("{error}");
    let store = KvStore::open(&folder, Options::DEFAULTS, space, Incarnation(1), Uuid::new_v4, fatal).expect("a store");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    tokio::task::LocalSet::new().block_on(&runtime, async {
        let pumped = store.clone();
        tokio::task::spawn_local(async move { pumped.run().await });
        store.force(Line { log: LOG, name: None, seen: seen(), mark: None }).await;
        let prepared: Vec<_> = (1..=IN_DOUBT)
            .map(|number| {
                let store = store.clone();
                let (work, record) = branch(number, names);
                tokio::task::spawn_local(async move { store.prepare(work, record).await })
            })
            .collect();
        for vote in prepared {
            assert!(matches!(vote.await, Ok(Vote::Yes(_))), "a branch is prepared");
        }
    });
    store.identity()
}

fn branch(number: u64, names: &[Name]) -> (Work, Prepared) {
    let add = Add { key: format!("account/{number:06}"), delta: 1, min: None, max: None };
    let payload = Payload(codec::encode(&vec![Operation::Add(add)]).expect("encodable"));
    let members = names.iter().map(|name| {
        let who = Addressee { name: name.clone(), store: StoreId(Uuid::nil()), incarnation: Incarnation(1) };
        Member { who, address: String::new() }
    });
    let record = Prepared {
        xid: xid(number),
        coordinator: String::new(),
        seen: seen(),
        members: members.collect(),
        work: ContentHash::of(&[&payload.0]),
        reads: Payload::default(),
    };
    (Work { xid: xid(number), age: Age(number), payload: Some(payload) }, record)
}

/// The coordinator's log as its first start left it.
fn make_log(folder: &Path, names: &[Name], stores: [StoreId; 2]) {
    let folder = Folder::lock(folder, Kind::Coordinator, "coordinator").expect("a folder");
    let mut log = RedbLog::open(&folder, LogOptions::default(), || LOG.0).expect("a log");
    let mut records = vec![Record::Epoch { epoch: Epoch(1), nonce: NONCE, decisions: 0 }];
    for (name, store) in names.iter().zip(stores) {
        let registration =
            Registration { name: name.clone(), store, incarnation: None, sequence: 0, address: String::new() };
        records.push(Record::Participant(registration));
    }
    records.extend((1..=COMMITTED).map(|number| {
        let updating = |(name, store): (&Name, StoreId)| Updating { participant: name.clone(), store, sequence: 1 };
        Record::Commit(Commit {
            xid: xid(number),
            decision: number,
            key: Key(Uuid::from_u128(u128::from(number))),
            hash: ContentHash([0; 32]),
            branches: names.iter().zip(stores).map(updating).collect(),
            reads: Vec::new(),
        })
    }));
    let numbered = records.into_iter().zip(1..).map(|(record, number)| Entry {
        number: RecordNumber(number),
        record,
        erase: Vec::new(),
    });
    log.write(&numbered.collect::<Vec<_>>()).expect("a write");
}
