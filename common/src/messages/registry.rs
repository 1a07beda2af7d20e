//! The operator's view of a coordinator's registry, and the way out when a participant is gone for good.

use serde::{Deserialize, Serialize};

use crate::codec;
use crate::ids::{Incarnation, Name, StoreId};
use crate::limits::MAX_PAGE;

/// A participant as the registry has it, or had it.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct RegistryLine {
    /// Its name.
    pub name: Name,
    /// Its store.
    pub store: StoreId,
    /// The last start of it that was greeted.
    pub incarnation: Option<Incarnation>,
    /// The highest store sequence heard of.
    pub sequence: u64,
    /// Where it was last heard of.
    pub address: String,
    /// `ready`, `silent`, `greeting`, `disconnected`, `refused` or `removed`.
    pub state: String,
    /// Why it is refused, or the operator's reason for removing it.
    pub why: Option<String>,
    /// Commits that it has not acknowledged.
    pub unacknowledged: u64,
    /// Whether inquiries about an earlier start of the coordinator wait for it.
    pub waited_for: bool,
}

/// All of them.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct RegistryPage {
    /// In order of name; removed ones behind those that are not.
    #[serde(deserialize_with = "codec::bounded::<_, _, MAX_PAGE>")]
    pub lines: Vec<RegistryLine>,
}

/// An operator's order about a participant. Recorded in the log before it has an effect.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct RegistryOrder {
    /// What.
    pub act: RegistryAct,
    /// About whom.
    pub name: Name,
    /// Why, in the operator's words; kept.
    pub reason: String,
    /// Also when it is connected and well, or owes acknowledgements.
    pub force: bool,
}

/// What an operator can do about a participant.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub enum RegistryAct {
    /// Forget it: another store may register under the name, and nothing waits for it any more. What it committed alone,
    /// or has not acknowledged, is lost with it: the operator answers for that.
    Remove,
    /// Inquiries stop waiting for it until the coordinator's next start. It stays registered. Without it an older
    /// transaction is presumed aborted, which is wrong if it alone knows of a commit: the operator answers for that.
    Release,
}

/// What became of an order.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub enum RegistryAnswer {
    /// Recorded and done.
    Done,
    /// No such participant is registered.
    NotFound,
    /// Not done; why, and what could be done.
    Refused(String),
}
