//! A store that only notes what it is told to do, fails as often as it is told, and can be made to hang.

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use handfast_common::ids::{Age, ContentHash, Epoch, Incarnation, Key, LogId, Nonce, TxnId, Xid};
use handfast_common::messages::{Mark, Seen};
use handfast_common::outcome::{Payload, Reason, ReasonKind};
use handfast_common::storage::{Caps, StorageError};
use uuid::Uuid;

use crate::logged::testing::{Disk, room};
use crate::logged::{Branch, LoggedResource, Piece, Tried, TryConfirmCancel};
use crate::protocol::{Line, Prepared};
use crate::resource::{ParticipantLog, Work};

/// What the store was told: a transaction, and the numbers of its pieces.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Call {
    Try(u64, u32),
    Confirm(u64, Vec<u32>),
    Cancel(u64, Vec<u32>),
    Hold(u64, Vec<u32>),
}

/// Clones are the same.
#[derive(Clone, Default)]
pub(super) struct Steps {
    inner: Rc<Inner>,
    fatal: Arc<Mutex<Option<String>>>,
}

#[derive(Default)]
struct Inner {
    calls: RefCell<Vec<Call>>,
    hanging: Cell<bool>,
    failures: Cell<u32>,
    refuses_to_hold: Cell<bool>,
}

impl Steps {
    pub(super) fn calls(&self) -> Vec<Call> {
        self.inner.calls.borrow().clone()
    }

    pub(super) fn forget(&self) {
        self.inner.calls.borrow_mut().clear();
    }

    /// Tries do not end while it hangs.
    pub(super) fn hang(&self, hang: bool) {
        self.inner.hanging.set(hang);
    }

    /// So many calls of confirm or cancel fail from now on.
    pub(super) fn fail(&self, times: u32) {
        self.inner.failures.set(times);
    }

    pub(super) fn refuse_to_hold(&self) {
        self.inner.refuses_to_hold.set(true);
    }

    pub(super) fn fatal(&self) -> &Arc<Mutex<Option<String>>> {
        &self.fatal
    }

    /// Lets something go on until there were so many calls; it must not end by then.
    pub(super) async fn until_called<T>(&self, calls: usize, going: &mut Pin<Box<impl Future<Output = T>>>) {
        while self.calls().len() < calls {
            let ended = tokio::time::timeout(Duration::from_millis(2), &mut *going).await;
            assert!(ended.is_err(), "it has ended after {:?}", self.calls());
        }
    }

    fn note(&self, call: Call) {
        self.inner.calls.borrow_mut().push(call);
    }

    fn end(&self) -> Result<(), String> {
        let left = self.inner.failures.get();
        self.inner.failures.set(left.saturating_sub(1));
        if left == 0 { Ok(()) } else { Err("the test says so".to_owned()) }
    }
}

fn numbers(branch: &Branch) -> (u64, Vec<u32>) {
    (branch.xid.txn.sequence(), branch.pieces.iter().map(|piece| piece.number).collect())
}

impl TryConfirmCancel for Steps {
    async fn try_work(&self, piece: &Piece) -> Result<Tried, Reason> {
        self.note(Call::Try(piece.xid.txn.sequence(), piece.number));
        while self.inner.hanging.get() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        match piece.work.0.as_slice() {
            b"refuse" => Err(Reason::new(ReasonKind::CheckFailed, "")),
            b"conflict" => Err(Reason::new(ReasonKind::Conflict, "")),
            _ => Ok(Tried::changed(piece.work.clone())),
        }
    }

    async fn confirm(&self, branch: &Branch) -> Result<(), String> {
        let (txn, pieces) = numbers(branch);
        self.note(Call::Confirm(txn, pieces));
        self.end()
    }

    async fn cancel(&self, branch: &Branch) -> Result<(), String> {
        let (txn, pieces) = numbers(branch);
        self.note(Call::Cancel(txn, pieces));
        self.end()
    }

    fn hold(&self, branch: &Branch) -> Result<(), String> {
        let (txn, pieces) = numbers(branch);
        self.note(Call::Hold(txn, pieces));
        if self.inner.refuses_to_hold.get() { Err("the test says so".to_owned()) } else { Ok(()) }
    }
}

pub(super) async fn open(disk: &Disk, steps: &Steps, incarnation: u64) -> LoggedResource<Steps> {
    try_open(disk, steps, incarnation).await.unwrap()
}

pub(super) async fn try_open(
    disk: &Disk,
    steps: &Steps,
    incarnation: u64,
) -> Result<LoggedResource<Steps>, StorageError> {
    let fatal = Arc::clone(&steps.fatal);
    let on_fatal = move |error: StorageError| *fatal.lock().unwrap() = Some(error.to_string());
    LoggedResource::over(disk.store(), Caps::DEFAULTS, room(), Incarnation(incarnation), on_fatal, steps.clone()).await
}

/// Runs a test beside the background work of a store.
pub(super) async fn beside<T>(store: &LoggedResource<Steps>, test: impl Future<Output = T>) -> T {
    tokio::select! {
        biased;
        value = test => value,
        () = store.run() => panic!("the background work has ended"),
    }
}

const LOG: LogId = LogId(Uuid::from_u128(0xC0));
const NONCE: Nonce = Nonce(7);

fn txn(n: u64) -> TxnId {
    TxnId::new(LOG, Epoch(1), n, NONCE)
}

pub(super) fn xid(n: u64) -> Xid {
    Xid { log: LOG, txn: txn(n), nonce: NONCE }
}

pub(super) fn key(n: u64) -> Key {
    Key(Uuid::from_u128(u128::from(n)))
}

pub(super) fn work(n: u64, text: &str) -> Work {
    Work { xid: xid(n), age: Age(n), payload: Some(Payload(text.as_bytes().to_vec())) }
}

pub(super) fn record(n: u64) -> Prepared {
    let seen = Seen { epoch: Epoch(1), nonce: NONCE, decisions: n };
    let (coordinator, members, reads) = ("127.0.0.1:7117".to_owned(), Vec::new(), Payload::default());
    Prepared { xid: xid(n), coordinator, seen, members, work: ContentHash([9; 32]), reads }
}

/// A line whose mark covers all below `low`.
pub(super) fn line(low: u64) -> Line {
    let seen = Seen { epoch: Epoch(1), nonce: NONCE, decisions: low };
    let mark = Some(Mark { low: txn(low), except: Vec::new() });
    Line { log: LOG, name: None, seen, mark, unproven: Vec::new() }
}
