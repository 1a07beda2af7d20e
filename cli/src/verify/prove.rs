//! What must hold between the files of a stopped system, each rule by itself, with the promise it stands for.
//!
//! A finding is a counterexample: two things that are on disk and can't both be right. What is only missing because its
//! file was not given is no finding; it is listed as not looked at.

use std::collections::BTreeMap;

use handfast_common::ids::{LogId, StoreId, Xid};
use serde::Serialize;

use super::evidence::{CoordinatorLog, DecidedBranch, How, ParticipantStore, Trace};

/// A counterexample.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub(super) struct Finding {
    /// The promise it breaks: `A1`, for instance.
    pub(super) promise: &'static str,
    /// The transaction, where it is about one.
    pub(super) txn: Option<String>,
    /// Which files say what.
    pub(super) what: String,
}

/// All files that were given.
#[derive(Clone, Debug, Default)]
pub(super) struct Evidence {
    pub(super) coordinators: Vec<CoordinatorLog>,
    pub(super) participants: Vec<ParticipantStore>,
}

/// Every counterexample, in order of the rules.
pub(super) fn prove(evidence: &Evidence) -> Vec<Finding> {
    let mut findings = Vec::new();
    identities(evidence, &mut findings);
    for log in &evidence.coordinators {
        for store in &evidence.participants {
            memory_of_the_log(log, store, &mut findings);
            memory_of_the_store(log, store, &mut findings);
            known_starts(log, store, &mut findings);
            effects_have_a_decision(log, store, &mut findings);
        }
        decisions_have_their_effects(log, evidence, &mut findings);
    }
    findings
}

fn finding(findings: &mut Vec<Finding>, promise: &'static str, xid: Option<Xid>, what: String) {
    findings.push(Finding { promise, txn: xid.map(|xid| xid.txn.to_string()), what });
}

/// A10: no two files are the same log, or the same store.
fn identities(evidence: &Evidence, findings: &mut Vec<Finding>) {
    let mut logs: BTreeMap<LogId, &str> = BTreeMap::new();
    for log in &evidence.coordinators {
        if let Some(other) = logs.insert(log.log, &log.label) {
            finding(findings, "A10", None, format!("{} and {other} are copies of one log", log.label));
        }
    }
    let mut stores: BTreeMap<StoreId, &str> = BTreeMap::new();
    for store in &evidence.participants {
        if let Some(other) = stores.insert(store.store, &store.label) {
            finding(findings, "A10", None, format!("{} and {other} are copies of one store", store.label));
        }
    }
}

/// A9: no participant has heard of a start or a decision that the log does not have.
fn memory_of_the_log(log: &CoordinatorLog, store: &ParticipantStore, findings: &mut Vec<Finding>) {
    let Some(heard) = store.heard.get(&log.log) else { return };
    let seen = heard.seen;
    let missing = match log.decisions_of(seen.epoch, seen.nonce) {
        None => format!("epoch {} (nonce {:016x})", seen.epoch.0, seen.nonce.0),
        Some(decisions) if decisions < seen.decisions => {
            format!("decision {} of epoch {}, it ends with {decisions}", seen.decisions, seen.epoch.0)
        }
        Some(_) => return,
    };
    let what =
        format!("{} has heard of {missing}, which {} does not have: an older copy of the log", store.label, log.label);
    finding(findings, "A9", None, what);
}

/// A9: the store is the one that is registered, and not older than what it said.
fn memory_of_the_store(log: &CoordinatorLog, store: &ParticipantStore, findings: &mut Vec<Finding>) {
    let Some(known) = log.registry.get(&store.name) else { return };
    if known.store != store.store {
        if !log.has_removed(store.store) {
            let what = format!(
                "{} has the store {}, {} knows '{}' with the store {}: it was wiped, or is another one",
                store.label, store.store.0, log.label, store.name, known.store.0
            );
            finding(findings, "A9", None, what);
        }
        return;
    }
    let said = promised(log, store.store).into_iter().chain([known.sequence]).max().unwrap_or_default();
    if store.sequence < said {
        let what = format!(
            "{} has come to sequence {}, but {} has heard {said} from it: an older copy of the store",
            store.label, store.sequence, log.label
        );
        finding(findings, "A9", None, what);
    }
}

/// Sequences that came with a store's votes and acknowledgements.
fn promised(log: &CoordinatorLog, store: StoreId) -> Vec<u64> {
    let branches = log.decided.values().filter_map(|decided| match &decided.how {
        How::TwoPhase { branches, .. } => Some(branches),
        How::OnePhase(_) => None,
    });
    branches.flatten().filter(|branch| branch.store == store).map(|branch| branch.sequence).collect()
}

/// A10: every branch belongs to a start that the log has.
fn known_starts(log: &CoordinatorLog, store: &ParticipantStore, findings: &mut Vec<Finding>) {
    for xid in store.branches.keys().filter(|xid| xid.log == log.log) {
        if log.decisions_of(xid.txn.epoch(), xid.nonce).is_none() {
            let what = format!("{} has a branch of a start that {} does not have", store.label, log.label);
            finding(findings, "A10", Some(*xid), what);
        }
    }
}

/// A1, A3: what took effect in two phases was decided; what was decided in one phase was not prepared.
fn effects_have_a_decision(log: &CoordinatorLog, store: &ParticipantStore, findings: &mut Vec<Finding>) {
    let trimmed = |xid: &Xid| log.floor.is_some_and(|floor| xid.txn <= floor);
    for (xid, trace) in store.branches.iter().filter(|(xid, _)| xid.log == log.log && !trimmed(xid)) {
        let how = log.decided.get(xid).map(|decided| &decided.how);
        let what = match (trace, how) {
            (Trace::Done, None) => {
                format!("{} has committed its branch, and {} has no decision", store.label, log.label)
            }
            (Trace::Done, Some(How::TwoPhase { branches, .. })) if !has(branches, store.store) => {
                format!("{} has committed its branch, and the decision of {} does not name it", store.label, log.label)
            }
            (Trace::Done | Trace::Prepared(_), Some(How::OnePhase(_))) => {
                format!("{} has a branch that voted, and by {} it was committed in one phase", store.label, log.label)
            }
            (Trace::DoneAlone(_), Some(How::TwoPhase { .. })) => {
                format!("{} has committed in one phase what {} has decided in two", store.label, log.label)
            }
            (Trace::DoneAlone(key), Some(How::OnePhase(_))) if log.decided[xid].key != *key => {
                format!("{} has done it under another key than {} has recorded", store.label, log.label)
            }
            (Trace::Done | Trace::DoneAlone(_) | Trace::Prepared(_), _) => continue,
        };
        finding(findings, "A1", Some(*xid), what);
    }
}

fn has(branches: &[DecidedBranch], store: StoreId) -> bool {
    branches.iter().any(|branch| branch.store == store)
}

/// A1, A4: every branch of a decision is committed, or held for it; one that has acknowledged is committed.
fn decisions_have_their_effects(log: &CoordinatorLog, evidence: &Evidence, findings: &mut Vec<Finding>) {
    for (xid, decided) in &log.decided {
        let How::TwoPhase { branches, ended } = &decided.how else { continue };
        for branch in branches {
            let Some(store) = evidence.participants.iter().find(|store| store.store == branch.store) else { continue };
            let what = match store.branches.get(xid) {
                Some(Trace::Prepared(_)) if *ended => {
                    format!("{} has acknowledged the commit, and its branch is still in doubt", store.label)
                }
                None if !store.is_past(*xid) => {
                    format!("{} has decided commit, and {} has no trace of its branch", log.label, store.label)
                }
                Some(Trace::Prepared(_) | Trace::Done | Trace::DoneAlone(_)) | None => continue,
            };
            finding(findings, "A4", Some(*xid), what);
        }
    }
}
