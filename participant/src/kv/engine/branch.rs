//! What a branch can be, and what of it can be on its way to the disk.

use std::sync::Arc;

use handfast_common::ids::{Age, ContentHash, Key, Xid};
use handfast_common::messages::OnePhaseResult;
use handfast_common::operation::Operation;
use handfast_common::outcome::{Payload, Reason, ReasonKind, Vote};

use super::Ended;
use super::open::Open;
use crate::kv::locks::Mode;
use crate::kv::record::Held;
use crate::protocol::{OnePhaseDone, Prepared};
use crate::resource::Execution;

#[derive(Debug)]
pub(super) enum Branch {
    /// Interactive, between two operations. It lives in memory only.
    Open(Open),
    /// Waits for a lock, to work, or for one operation of an open branch. Nothing of it is in the log yet.
    Waiting(Box<Waiting>),
    /// Its prepare record is handed to the log.
    Preparing(Voted),
    /// In doubt: its prepare record is on disk.
    Prepared(Voted),
    /// It changed nothing and keeps its locks until it is told.
    ReadOnly(Payload),
    /// Its one-phase commit is handed to the log.
    OnePhase(OnePhaseDone),
}

#[derive(Debug)]
pub(super) struct Waiting {
    pub(super) age: Age,
    pub(super) operations: Vec<Operation>,
    /// Those it needs and did not hold before, in order of key.
    pub(super) locks: Vec<(String, Mode)>,
    /// How many of them it has.
    pub(super) held: usize,
    pub(super) then: Then,
}

#[derive(Debug)]
pub(super) enum Then {
    /// The branch stays open.
    Execute(Open),
    Prepare(Prepared),
    OnePhase(Key, ContentHash),
}

#[derive(Debug)]
pub(super) struct Voted {
    pub(super) held: Arc<[Held]>,
    pub(super) reads: Payload,
}

#[derive(Debug)]
pub(super) struct Marker {
    pub(super) durable: bool,
    pub(super) one_phase: Option<OnePhaseDone>,
}

/// How a branch ended that left no marker.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Ending {
    /// Without effect.
    Nothing,
    /// Interactive and committed in one phase, having changed nothing: the one ending that can be asked for again.
    OnlyRead,
}

#[derive(Debug)]
pub(super) enum Handed {
    Prepare(Xid),
    OnePhase(Xid),
    Commit(Xid, Arc<[Held]>),
    Abort(Xid),
    Force,
}

/// The answer that ends work without effect.
pub(super) fn refusal(xid: Xid, then: &Then, reason: Reason) -> Ended {
    match then {
        Then::Execute(_) => Ended::Execute(xid, Execution::Doomed(reason)),
        Then::Prepare(_) => Ended::Prepare(xid, Vote::No(reason)),
        Then::OnePhase(..) => Ended::OnePhase(xid, OnePhaseResult::Aborted(reason)),
    }
}

pub(super) fn lost(why: &str) -> Reason {
    Reason::new(ReasonKind::Lost, why)
}
