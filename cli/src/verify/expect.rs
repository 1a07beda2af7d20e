//! What each side knows of each transaction, and what will become of it when the system is started again.

use std::collections::{BTreeMap, BTreeSet};

use handfast_common::ids::{Name, Xid};
use serde::Serialize;

use super::evidence::{CoordinatorLog, How, Trace};
use super::prove::Evidence;
use super::read::next_epoch;

/// One transaction.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub(super) struct Expected {
    pub(super) txn: String,
    /// `in-doubt`, `committing` (not acknowledged by all) or `committed`.
    pub(super) state: &'static str,
    /// What its coordinator's log says.
    pub(super) coordinator: String,
    /// What each participant's store says.
    pub(super) branches: Vec<(Name, &'static str)>,
    /// What a start will do.
    pub(super) next: String,
    #[serde(skip)]
    pub(super) ended: bool,
}

/// Every transaction that any of the files knows of, in order.
pub(super) fn expect(evidence: &Evidence) -> Vec<Expected> {
    let decided = evidence.coordinators.iter().flat_map(|log| log.decided.keys());
    let traced = evidence.participants.iter().flat_map(|store| store.branches.keys());
    let all: BTreeSet<Xid> = decided.chain(traced).copied().collect();
    all.into_iter().map(|xid| expected(evidence, xid)).collect()
}

fn expected(evidence: &Evidence, xid: Xid) -> Expected {
    let log = evidence.coordinators.iter().find(|log| log.log == xid.log);
    let mut branches: BTreeMap<Name, &'static str> = BTreeMap::new();
    let mut in_doubt = Vec::new();
    for store in &evidence.participants {
        let says = match store.branches.get(&xid) {
            Some(Trace::Prepared(members)) => {
                // Of those whose files were not given nothing is known.
                for member in members {
                    branches.entry(member.clone()).or_insert("not given");
                }
                in_doubt.push(store.name.clone());
                "prepared"
            }
            Some(Trace::Done) => "committed",
            Some(Trace::DoneAlone(_)) => "committed in one phase",
            None => continue,
        };
        branches.insert(store.name.clone(), says);
    }
    let how = log.and_then(|log| log.decided.get(&xid)).map(|decided| &decided.how);
    let (state, coordinator) = match how {
        Some(How::TwoPhase { ended: false, .. }) => ("committing", "commit, not acknowledged by all".to_owned()),
        Some(How::TwoPhase { ended: true, .. }) => ("committed", "commit, acknowledged by all".to_owned()),
        Some(How::OnePhase(name)) => ("committed", format!("committed by '{name}' alone")),
        None if log.is_none() => (state_without(&in_doubt), "its log was not given".to_owned()),
        None => (state_without(&in_doubt), "no decision".to_owned()),
    };
    let state = if in_doubt.is_empty() { state } else { "in-doubt" };
    let next = next(evidence, xid, log, how, &in_doubt);
    let ended = in_doubt.is_empty() && state == "committed";
    Expected { txn: xid.txn.to_string(), state, coordinator, branches: branches.into_iter().collect(), next, ended }
}

fn state_without(in_doubt: &[Name]) -> &'static str {
    if in_doubt.is_empty() { "committed" } else { "in-doubt" }
}

fn next(evidence: &Evidence, xid: Xid, log: Option<&CoordinatorLog>, how: Option<&How>, in_doubt: &[Name]) -> String {
    match (log, how) {
        (_, Some(How::TwoPhase { branches, ended: false })) => {
            let names: Vec<&str> = branches.iter().map(|branch| branch.participant.as_str()).collect();
            format!("commit is told to {} until all have acknowledged", names.join(", "))
        }
        (_, Some(How::TwoPhase { ended: true, .. } | How::OnePhase(_))) if in_doubt.is_empty() => String::new(),
        (_, Some(How::TwoPhase { ended: true, .. } | How::OnePhase(_))) => "see the counterexample".to_owned(),
        (_, None) if in_doubt.is_empty() => String::new(),
        (Some(log), None) => {
            let epoch = next_epoch(log).0;
            format!("abort, presumed in epoch {epoch} when those that may know more have been heard")
        }
        (None, None) => match evidence.participants.iter().find(|store| knows(store.branches.get(&xid))) {
            Some(store) => format!("commit: '{}' knows", store.name),
            None => format!("waits for the coordinator with log {}", xid.log.0),
        },
    }
}

fn knows(trace: Option<&Trace>) -> bool {
    matches!(trace, Some(Trace::Done))
}
