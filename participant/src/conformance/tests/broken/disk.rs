//! What the store keeps over a kill: values, records and markers in memory that stands for a disk.

use std::collections::{BTreeMap, BTreeSet};

use handfast_common::ids::{LogId, Xid};
use handfast_common::messages::KnownStart;

use crate::protocol::{Done, Line, Prepared};

/// A disk, with all of its states.
pub(super) struct World {
    pub(super) now: Disk,
    pub(super) moments: Vec<Disk>,
    /// What a kill leaves, where something was not synced.
    pub(super) synced: Option<Disk>,
}

#[derive(Clone, Default)]
pub(super) struct Disk {
    pub(super) values: BTreeMap<String, i64>,
    pub(super) prepared: BTreeMap<Xid, (Prepared, Branch)>,
    pub(super) done: BTreeMap<Xid, Done>,
    pub(super) aborted: BTreeSet<Xid>,
    pub(super) lines: BTreeMap<LogId, Line>,
    pub(super) sequence: u64,
    pub(super) starts: Vec<KnownStart>,
}

/// What a branch changes, and all that it holds.
#[derive(Clone, Default)]
pub(super) struct Branch {
    pub(super) changes: Vec<(String, i64)>,
    pub(super) keys: BTreeSet<String>,
}

impl Default for World {
    fn default() -> Self {
        Self { now: Disk::default(), moments: vec![Disk::default()], synced: None }
    }
}

impl World {
    pub(super) fn after_a_kill(&self) -> Self {
        let now = self.synced.clone().unwrap_or_else(|| self.now.clone());
        Self { now, moments: self.moments.clone(), synced: None }
    }

    pub(super) fn moments(&self) -> usize {
        self.moments.len()
    }

    pub(super) fn stop_at(&mut self, moment: usize) {
        self.now = self.moments[moment - 1].clone();
    }
}

impl Branch {
    pub(super) fn sum(&self, key: &str) -> i64 {
        self.changes.iter().filter(|(changed, _)| changed == key).map(|(_, amount)| amount).sum()
    }
}

pub(super) fn apply(disk: &mut Disk, changes: &[(String, i64)]) {
    for (key, amount) in changes {
        *disk.values.entry(key.clone()).or_default() += amount;
    }
}

pub(super) fn finish(disk: &mut Disk, xid: Xid, changes: &[(String, i64)], done: Option<Done>) {
    apply(disk, changes);
    disk.prepared.remove(&xid);
    disk.done.extend(done.map(|done| (xid, done)));
}
