//! Participant to participant: cooperative termination.
//!
//! A participant in doubt that can't reach the coordinator asks the others of its list. What an answer proves, and what it
//! does not, is DESIGN's section on it in docs/guarantees.md: *no trace alone is never "has not voted"*.

use serde::{Deserialize, Serialize};

use super::stamp::{Addressee, Identity};
use crate::ids::Xid;
use crate::outcome::Decision;

/// An in-doubt participant's question to another one.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct PeerInquiry {
    /// Who asks.
    pub from: Identity,
    /// Who is meant: exactly as the asker's prepare record names it.
    pub to: Addressee,
    /// About which transaction.
    pub xid: Xid,
}

/// The answer.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct PeerTold {
    /// Who answers. The asker believes only whom its record names, by name and store.
    pub from: Identity,
    /// What.
    pub answer: PeerAnswer,
}

/// What one participant can tell another.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub enum PeerAnswer {
    /// The decision. `Abort` also from the very incarnation that is named, if it has not voted and now never will.
    Decided(Decision),
    /// "I can't say", and why.
    CantSay(Unsaid),
}

/// Why a participant can't say.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub enum Unsaid {
    /// It is in doubt itself.
    InDoubt,
    /// Its branch is open and has not been asked for its vote.
    Open,
    /// It only read and has no record of the end.
    ReadOnly,
    /// It was restarted since: what the named incarnation said is forgotten.
    OtherIncarnation,
    /// The mark has passed the transaction: its trace is gone, whatever it was.
    BelowMark,
    /// It is another participant, or another store, than the one named.
    NotMe,
    /// It was decided here by hand or by the resource manager: never an answer to a peer.
    Heuristic,
}
