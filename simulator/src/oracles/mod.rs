//! What must hold, one promise per file, named after it.
//!
//! Some look at every word that is said, the others at the end, when all faults are over and all is quiet.

mod atomicity;
mod bank_sum;
mod baseline;
mod binding_votes;
mod conservation;
mod durability;
mod exactly_once;
mod fencing;
mod histories;
mod liveness;
mod no_dirty_effects;
mod room;
mod serializability;
mod stable_decision;
mod wait_die;

use std::collections::BTreeMap;
use std::fmt;

use handfast_common::ids::{Key, Name};
use handfast_common::operation::Value;

use crate::clients::Ledger;
use crate::workload::Workload;

/// A broken promise.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Violation {
    /// Which.
    pub oracle: &'static str,
    /// How.
    pub what: String,
    /// When, in virtual microseconds.
    pub at: u64,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at {:.3} ms: {}", self.oracle, self.at as f64 / 1_000.0, self.what)
    }
}

/// What one of them says: what is wrong, in words.
pub(crate) type Verdict = Result<(), String>;

/// Those that look on while it happens.
#[derive(Clone, Default, Debug)]
pub(crate) struct Oracles {
    pub(crate) stable_decision: stable_decision::StableDecision,
    pub(crate) binding_votes: binding_votes::BindingVotes,
    pub(crate) durability: durability::Durability,
    pub(crate) fencing: Fencing,
    pub(crate) room: room::Room,
}

/// The end of a run: what is in the stores, and what the clients know.
pub(crate) struct End<'a> {
    pub(crate) ledger: &'a Ledger,
    pub(crate) workload: Workload,
    pub(crate) names: Vec<Name>,
    /// Last committed values of each participant.
    pub(crate) values: BTreeMap<Name, BTreeMap<String, Value>>,
}

impl End<'_> {
    /// How often a transaction took effect at a participant.
    pub(crate) fn effects(&self, key: Key, name: &Name) -> i64 {
        match self.values.get(name).and_then(|values| values.get(&crate::workload::own_key(key))) {
            Some(Value::Integer(times)) => *times,
            Some(Value::Text(_)) | None => 0,
        }
    }

    /// All that look at the end, by name.
    pub(crate) fn verdicts(&self) -> Vec<(&'static str, Verdict)> {
        vec![
            ("liveness", liveness::everybody_knows(self)),
            ("atomicity", atomicity::all_or_nothing(self)),
            ("exactly once", exactly_once::never_twice(self)),
            ("durability", durability::told_is_there(self)),
            ("no dirty effects", no_dirty_effects::aborted_is_not_there(self)),
            ("bank sum", bank_sum::nothing_is_lost(self)),
            ("serializability", serializability::has_an_order(self)),
            ("serializability", histories::could_have_run_one_after_the_other(self)),
        ]
    }
}

pub(crate) use baseline::{CoordinatorLeft, ParticipantLeft};
pub(crate) use conservation::begun_is_live_and_ended;
pub(crate) use fencing::Fencing;
pub(crate) use wait_die::only_older_ones_wait;
