//! What was said and what took effect: kept beside the machines, never trimmed, and what the properties look at.

use handfast_common::ids::{Key, Xid};
use handfast_common::outcome::{Decision, Payload};
use uuid::Uuid;

use super::state::PARTICIPANTS;

/// Transactions of one model, at most.
pub(crate) const TRANSACTIONS: usize = 2;

/// All of it.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
pub(crate) struct Ledger {
    /// By the client's number for the transaction.
    pub(crate) entries: [Entry; TRANSACTIONS],
    /// Rules that a single step broke.
    pub(crate) broken: Broken,
}

/// One transaction.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
pub(crate) struct Entry {
    /// Its identity, once the coordinator has drawn one.
    pub(crate) xid: Option<Xid>,
    /// Whether the client has sent it.
    pub(crate) submitted: bool,
    /// What the client was told.
    pub(crate) told: Verdicts,
    /// What participants were told.
    pub(crate) said: Verdicts,
    /// Whether the Commit record, or a participant's one-phase marker, has been on disk.
    pub(crate) durable: bool,
    /// By participant.
    pub(crate) branches: [BranchEntry; PARTICIPANTS],
}

/// One branch.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
pub(crate) struct BranchEntry {
    /// Whether the client was told that its operation there is done.
    pub(crate) answered: bool,
    /// How often its work took effect.
    pub(crate) effects: u8,
    /// Whether it was undone.
    pub(crate) undone: bool,
    /// Whether its participant has said Yes.
    pub(crate) yes: bool,
    /// Whether its participant has said No.
    pub(crate) no: bool,
}

/// Which of the two was said.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub(crate) struct Verdicts {
    /// Committed.
    pub(crate) commit: bool,
    /// Aborted.
    pub(crate) abort: bool,
}

/// Rules of which a single step shows that they are broken.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub(crate) struct Broken {
    /// A3: a Yes without its record on disk.
    pub(crate) forced_votes: bool,
    /// A4: an acknowledgement without its effect on disk.
    pub(crate) forced_acknowledgements: bool,
    /// A10: an order of an older epoch, or for another start, was obeyed.
    pub(crate) fence: bool,
    /// A machine stopped.
    pub(crate) stopped: bool,
}

impl Verdicts {
    /// Notes a decision.
    pub(crate) fn note(&mut self, decision: Decision) {
        match decision {
            Decision::Commit => self.commit = true,
            Decision::Abort => self.abort = true,
        }
    }
}

impl Ledger {
    /// The entry of a transaction by its identity.
    pub(crate) fn of(&mut self, xid: Xid) -> Option<&mut Entry> {
        self.entries.iter_mut().find(|entry| entry.xid == Some(xid))
    }
}

/// The client's key of a transaction.
pub(crate) fn key(n: usize) -> Key {
    Key(Uuid::from_u128(1 + n as u128))
}

/// Its number, from the key.
pub(crate) fn by_key(key: Key) -> usize {
    usize::try_from(key.0.as_u128() - 1).expect("one of the model's keys")
}

/// Its number, from a branch's work.
pub(crate) fn by_work(work: &Payload) -> usize {
    usize::from(work.0[1])
}
