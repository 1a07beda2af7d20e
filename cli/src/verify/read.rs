//! From data folders to what their files say.

use std::collections::BTreeMap;
use std::path::Path;

use handfast_common::ids::{Epoch, LogId, Name, Nonce};
use handfast_common::messages::Seen;
use handfast_common::storage::offline::{Inspected, inspect};
use handfast_common::storage::{Kind, StorageError};
use handfast_coordinator::log::{DecisionLog, RedbLog};
use handfast_coordinator::protocol::{Commit, Config, Coordinator, Numbered, OperatorAct, Record};
use handfast_participant::kv;
use handfast_participant::protocol::{Config as ParticipantConfig, Participant, Recovered};

use super::evidence::{CoordinatorLog, Decided, DecidedBranch, Heard, How, ParticipantStore, Trace};

/// Why a folder can't be looked at.
#[derive(Debug, thiserror::Error)]
pub(super) enum ReadError {
    /// The file itself: damage, a running process, the wrong role.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// Its records exclude each other.
    #[error("{file}: {why}")]
    Records {
        /// The folder.
        file: String,
        /// What excludes what.
        why: String,
    },
}

pub(super) fn coordinator(folder: &Path, scratch: Option<&Path>) -> Result<CoordinatorLog, ReadError> {
    let Inspected { store, name, .. } = inspect(folder, Kind::Coordinator, scratch)?;
    let found = RedbLog::over(store).read_all()?;
    let excluded = |why: String| ReadError::Records { file: folder.display().to_string(), why };
    // What a start would find, by the same table: every record legal in the state that those before it left.
    let recovered =
        Coordinator::recover(Config::default(), found.log, Nonce(0), found.records.clone(), found.last_number);
    recovered.map_err(|error| excluded(error.to_string()))?;
    Ok(evidence_of(format!("coordinator '{name}' in {}", folder.display()), found.log, found.records))
}

fn evidence_of(label: String, log: LogId, records: Vec<Numbered>) -> CoordinatorLog {
    let mut evidence = CoordinatorLog {
        label,
        log,
        starts: Vec::new(),
        registry: BTreeMap::new(),
        removed: Vec::new(),
        floor: None,
        decided: BTreeMap::new(),
    };
    for (_, record) in records {
        match record {
            Record::Epoch { epoch, nonce, decisions } => {
                evidence.reach(decisions);
                evidence.starts.push(Seen { epoch, nonce, decisions });
            }
            Record::Participant(registration) => {
                evidence.registry.insert(registration.name.clone(), registration);
            }
            Record::Commit(commit) => {
                evidence.reach(commit.decision);
                evidence.decided.insert(commit.xid, two_phase(commit));
            }
            Record::End { txn, acknowledged } => evidence.end(txn, &acknowledged),
            Record::OnePhase(outcome) => {
                let how = How::OnePhase(outcome.reads.participant);
                evidence.decided.insert(outcome.xid, Decided { key: outcome.key, how });
            }
            Record::Floor { floor, decisions } => {
                evidence.reach(decisions);
                evidence.floor = Some(floor);
            }
            Record::Operator { act: OperatorAct::Removed(registration), .. } => evidence.removed.push(registration),
            Record::Operator { act: OperatorAct::Released { .. }, .. } | Record::Tick { .. } => {}
        }
    }
    evidence
}

fn two_phase(commit: Commit) -> Decided {
    let branches = commit.branches.into_iter().map(|branch| DecidedBranch {
        participant: branch.participant,
        store: branch.store,
        sequence: branch.sequence,
    });
    Decided { key: commit.key, how: How::TwoPhase { branches: branches.collect(), ended: false } }
}

impl CoordinatorLog {
    /// The present start has come to this decision.
    fn reach(&mut self, decision: u64) {
        if let Some(last) = self.starts.last_mut() {
            last.decisions = last.decisions.max(decision);
        }
    }

    fn end(&mut self, txn: handfast_common::ids::TxnId, acknowledged: &[u64]) {
        let decided = self.decided.iter_mut().find(|(xid, _)| xid.txn == txn);
        if let Some((_, Decided { how: How::TwoPhase { branches, ended }, .. })) = decided {
            *ended = true;
            for (branch, sequence) in branches.iter_mut().zip(acknowledged) {
                branch.sequence = branch.sequence.max(*sequence);
            }
        }
    }
}

pub(super) fn participant(folder: &Path, scratch: Option<&Path>) -> Result<ParticipantStore, ReadError> {
    let Inspected { store, name, .. } = inspect(folder, Kind::Participant, scratch)?;
    let label = format!("participant '{name}' in {}", folder.display());
    let excluded = |why: String| ReadError::Records { file: folder.display().to_string(), why };
    let name = Name::new(name).map_err(|error| excluded(error.to_string()))?;
    let kv::Inspection { store, sequence, found } = kv::inspect(store)?;
    let prepared: Vec<_> = found.prepared.into_iter().map(|record| record.prepared).collect();
    let recovered =
        Recovered { lines: found.lines, prepared: prepared.clone(), done: found.done.clone(), starts: found.starts };
    let heard = recovered.lines.iter().map(|line| (line.log, Heard { seen: line.seen, mark: line.mark.clone() }));
    let mut heard: BTreeMap<LogId, Heard> = heard.collect();
    let config = ParticipantConfig::new(name.clone(), store, handfast_common::ids::Incarnation(0));
    Participant::recover(config, recovered).map_err(|error| excluded(error.to_string()))?;
    let mut branches = BTreeMap::new();
    for record in prepared {
        let entry = heard.entry(record.xid.log).or_insert(Heard { seen: record.seen, mark: None });
        entry.seen = entry.seen.max(record.seen);
        let members = record.members.into_iter().map(|member| member.who.name).collect();
        branches.insert(record.xid, Trace::Prepared(members));
    }
    for done in found.done {
        let trace = done.one_phase.map_or(Trace::Done, |alone| Trace::DoneAlone(alone.key));
        branches.insert(done.xid, trace);
    }
    Ok(ParticipantStore { label, name, store, sequence, heard, branches })
}

/// The epoch that the next start of a log will have.
pub(super) fn next_epoch(log: &CoordinatorLog) -> Epoch {
    Epoch(log.starts.last().map_or(1, |start| start.epoch.0 + 1))
}
