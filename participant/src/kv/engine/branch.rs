//! What a branch can be, and what of it can be on its way to the disk.

use std::sync::Arc;

use handfast_common::ids::{Age, ContentHash, Key, Xid};
use handfast_common::messages::OnePhaseResult;
use handfast_common::operation::Operation;
use handfast_common::outcome::{Payload, Reason, Vote};

use super::Ended;
use crate::kv::locks::Mode;
use crate::kv::record::Held;
use crate::protocol::{OnePhaseDone, Prepared};

#[derive(Debug)]
pub(super) enum Branch {
    /// Waits for a lock. Nothing of it is in the log yet.
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
    pub(super) locks: Vec<(String, Mode)>,
    /// How many of them it has.
    pub(super) held: usize,
    pub(super) then: Then,
}

#[derive(Debug)]
pub(super) enum Then {
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

#[derive(Debug)]
pub(super) enum Handed {
    Prepare(Xid),
    OnePhase(Xid),
    Commit(Xid, Arc<[Held]>),
    Abort(Xid),
    Force,
}

/// The No that ends work.
pub(super) fn refusal(xid: Xid, then: &Then, reason: Reason) -> Ended {
    match then {
        Then::Prepare(_) => Ended::Prepare(xid, Vote::No(reason)),
        Then::OnePhase(..) => Ended::OnePhase(xid, OnePhaseResult::Aborted(reason)),
    }
}
