//! What a participant keeps durably. A resource manager stores these beside its own data and gives them back after a
//! restart; only the machine knows what they mean.

use serde::{Deserialize, Serialize};

use handfast_common::codec;
use handfast_common::ids::{ContentHash, Key, LogId, Name, Xid};
use handfast_common::limits::MAX_BRANCHES;
use handfast_common::messages::{KnownStart, Mark, Member, Seen};
use handfast_common::outcome::Payload;

/// The protocol's part of a prepare record. The resource manager adds locks and writes of its own and forces both as
/// one before it answers Yes.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct Prepared {
    /// The transaction.
    pub xid: Xid,
    /// Where to ask for the decision.
    pub coordinator: String,
    /// What this participant had seen of the coordinator when it voted: counts as seen after a restart.
    pub seen: Seen,
    /// All branches, this one too.
    #[serde(deserialize_with = "codec::bounded::<_, _, MAX_BRANCHES>")]
    pub members: Vec<Member>,
    /// Digest of the work: a Prepare of the same transaction with other content is an error.
    pub work: ContentHash,
    /// What the branch read: a repeated Prepare gets the same vote, reads included.
    pub reads: Payload,
}

/// The trace of a branch that took effect. Kept until the mark covers it.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct Done {
    /// The transaction.
    pub xid: Xid,
    /// For one-phase commits: enough to answer for the key.
    pub one_phase: Option<OnePhaseDone>,
}

/// What a one-phase commit's marker answers with.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct OnePhaseDone {
    /// The client's key.
    pub key: Key,
    /// What it stands for.
    pub hash: ContentHash,
    /// What was read.
    pub reads: Payload,
}

/// What is known of a coordinator: forced before its Hello is answered, and refreshed lazily as it speaks.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct Line {
    /// Its log.
    pub log: LogId,
    /// Its name: a coordinator of the same name with another log is another one, or was wiped.
    pub name: Option<Name>,
    /// The highest epoch, nonce and decision sequence heard of.
    pub seen: Seen,
    /// Its low-water mark. Written in the same store transaction that trims the markers it covers.
    pub mark: Option<Mark>,
}

/// All of it, as found after a restart.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
pub struct Recovered {
    /// Coordinators heard of.
    pub lines: Vec<Line>,
    /// Branches in doubt.
    pub prepared: Vec<Prepared>,
    /// Branches that took effect and are not covered by a mark yet.
    pub done: Vec<Done>,
    /// Earlier starts, the newest [`MAX_STARTS`](handfast_common::limits::MAX_STARTS) of them in order, each with the
    /// store sequence that it came to.
    pub starts: Vec<KnownStart>,
}
