//! The suite, against the stores of this crate and against broken ones.

mod broken;
mod ledger;

use handfast_common::ids::Incarnation;
use handfast_common::messages::{AskValues, Select};
use handfast_common::operation::{Add, Check, OnKey, Operation, Value};
use handfast_common::outcome::Payload;
use handfast_common::storage::{Caps, StorageError};

use super::{Group, Report, Subject, check};
use crate::kv::{self, KvStore};
use crate::logged::LoggedResource;
use crate::logged::testing::{Disk, room};
use crate::resource::ResourceManager;
use ledger::{Ledger, LedgerWork};

fn never(error: StorageError) {
    panic!("the store failed: {error}");
}

async fn run<S: Subject>(mut subject: S, groups: &[Group]) -> Report {
    check(&mut subject, groups).await
}

/// The embedded store on a disk in memory.
#[derive(Default)]
struct Embedded(Disk);

impl Subject for Embedded {
    type Store = KvStore;

    fn wipe(&mut self) {
        self.0 = Disk::new();
    }

    async fn open(&mut self, incarnation: Incarnation) -> KvStore {
        KvStore::over(self.0.store(), kv::Options::DEFAULTS.caps, room(), incarnation, never).unwrap()
    }

    fn crash(&mut self) {
        self.0 = self.0.fork();
    }

    fn moments(&self) -> usize {
        self.0.moments()
    }

    fn stop_at(&mut self, moment: usize) {
        self.0.stop_at(moment);
    }

    fn add(&self, changes: &[(&str, i64)]) -> Payload {
        let add = |(key, delta): &(&str, i64)| {
            Operation::Add(Add { key: (*key).to_owned(), delta: *delta, min: None, max: None })
        };
        kv::encode_operations(&changes.iter().map(add).collect::<Vec<_>>()).unwrap()
    }

    fn read(&self, key: &str) -> Option<Payload> {
        kv::encode_operations(&[Operation::Get(OnKey { key: key.to_owned() })]).ok()
    }

    fn refused(&self) -> Payload {
        let check = Check { key: "no".to_owned(), exists: true, ..Check::default() };
        kv::encode_operations(&[Operation::Check(check)]).unwrap()
    }

    fn value(&self, store: &KvStore, key: &str) -> i64 {
        let question = AskValues { select: Select::Key(key.to_owned()), after: None };
        match store.values(&question).unwrap().lines.remove(0).value {
            Some(Value::Integer(value)) => value,
            None => 0,
            Some(Value::Text(text)) => panic!("'{key}' holds '{text}'"),
        }
    }

    // The participant's machine bars what was aborted before it came.
    fn remembers_aborts(&self) -> bool {
        false
    }
}

/// A ledger that can try, confirm and cancel, behind the prepare log; both on one disk in memory.
#[derive(Default)]
struct Logged(Disk);

impl Subject for Logged {
    type Store = LoggedResource<Ledger>;

    fn wipe(&mut self) {
        self.0 = Disk::new();
    }

    async fn open(&mut self, incarnation: Incarnation) -> Self::Store {
        let (log, ledger) = (self.0.store(), Ledger::on(self.0.clone()));
        LoggedResource::over(log, Caps::DEFAULTS, room(), incarnation, never, ledger).await.unwrap()
    }

    fn crash(&mut self) {
        self.0 = self.0.fork();
    }

    fn moments(&self) -> usize {
        self.0.moments()
    }

    fn stop_at(&mut self, moment: usize) {
        self.0.stop_at(moment);
    }

    fn add(&self, changes: &[(&str, i64)]) -> Payload {
        LedgerWork::Add(changes.iter().map(|(key, amount)| ((*key).to_owned(), *amount)).collect()).encode()
    }

    fn read(&self, key: &str) -> Option<Payload> {
        Some(LedgerWork::Read(key.to_owned()).encode())
    }

    fn refused(&self) -> Payload {
        LedgerWork::Refused.encode()
    }

    fn value(&self, store: &Self::Store, key: &str) -> i64 {
        store.store().value(key)
    }
}

#[tokio::test]
async fn the_embedded_store_conforms() {
    // Its operations and its list of starts are looked at where they are built.
    let report = run(Embedded::default(), &[Group::TwoPhase, Group::OnePhase, Group::Log, Group::Crashes]).await;
    assert!(report.is_clean(), "{report}");
    assert_eq!(report.skipped, ["late_prepare_after_abort_is_refused"]);
}

#[tokio::test]
async fn f22_f23_f24_the_prepare_log_over_a_ledger_conforms() {
    let report = run(Logged::default(), &Group::ALL).await;
    assert!(report.is_clean(), "{report}");
    assert_eq!(report.skipped, [""; 0]);
}
