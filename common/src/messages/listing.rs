//! What operators look at: transactions page by page, and last committed values.

use serde::{Deserialize, Serialize};

use crate::codec;
use crate::ids::{Key, Name, TxnId};
use crate::limits::{MAX_BRANCHES, MAX_PAGE};
use crate::operation::Value;

/// A line of `txn list`.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct TxnLine {
    /// The transaction.
    pub txn: TxnId,
    /// Its key, where this side knows it.
    pub key: Option<Key>,
    /// `preparing`, `committing`, `in-doubt` and so on: docs/concepts.md lists them.
    pub state: String,
    /// Milliseconds in that state; filled in by the server, the machine has no clock.
    pub since_ms: u64,
    /// Its branches as far as this side knows them.
    #[serde(deserialize_with = "codec::bounded::<_, _, MAX_BRANCHES>")]
    pub branches: Vec<BranchLine>,
}

/// A branch in a [`TxnLine`].
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct BranchLine {
    /// Who holds it.
    pub participant: Name,
    /// `yes`, `no`, `read-only`, or nothing yet.
    pub vote: Option<String>,
    /// What the branch waits for or has done.
    pub state: String,
}

/// A page of a listing.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct TxnPage {
    /// In order of id.
    #[serde(deserialize_with = "codec::bounded::<_, _, MAX_PAGE>")]
    pub lines: Vec<TxnLine>,
    /// Whether asking again after the last of them gives more.
    pub more: bool,
}

/// What to list.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct AskPage {
    /// Only what comes after this one.
    pub after: Option<TxnId>,
    /// Only this one: ids from `first` to `last` (a prefix of a UUID is such a range).
    pub within: Option<(TxnId, TxnId)>,
    /// Ended ones too, as far as they are kept.
    pub ended: bool,
}

/// Reading last committed values of an embedded store, outside any transaction.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct AskValues {
    /// Exactly this key, or all with this prefix.
    pub select: Select,
    /// Only keys after this one.
    pub after: Option<String>,
}

/// Which keys.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub enum Select {
    /// One key.
    Key(String),
    /// All that begin so.
    Prefix(String),
}

/// A last committed value.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct ValueLine {
    /// The key.
    pub key: String,
    /// Its last committed value.
    pub value: Option<Value>,
    /// The in-doubt transaction that holds it for writing, if one does.
    pub locked_by: Option<TxnId>,
}

/// A page of values.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct ValuePage {
    /// In order of key.
    #[serde(deserialize_with = "codec::bounded::<_, _, MAX_PAGE>")]
    pub lines: Vec<ValueLine>,
    /// Whether asking again after the last of them gives more.
    pub more: bool,
}
