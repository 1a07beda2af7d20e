//! Who waits for what, on the runtime's thread.

use std::collections::BTreeMap;
use std::future::Future;

use handfast_common::ids::Xid;
use handfast_common::messages::OnePhaseResult;
use handfast_common::outcome::Vote;
use tokio::sync::oneshot::{Receiver, Sender, channel};

use super::engine::Ended;
use crate::resource::{Committed, Execution};

/// All of them.
#[derive(Debug, Default)]
pub(super) struct Waiters {
    pub(super) executions: Waiting<Xid, Execution>,
    pub(super) votes: Waiting<Xid, Vote>,
    pub(super) one_phase: Waiting<Xid, OnePhaseResult>,
    pub(super) commits: Waiting<Xid, Committed>,
    pub(super) aborts: Waiting<Xid, ()>,
    pub(super) forces: Waiting<u64, ()>,
}

/// Those of one kind. More than one may wait for the same: they get the same answer.
#[derive(Debug)]
pub(super) struct Waiting<K, T>(BTreeMap<K, Vec<Sender<T>>>);

impl Waiters {
    pub(super) fn tell(&mut self, ended: Ended) {
        match ended {
            Ended::Execute(xid, execution) => self.executions.tell(&xid, execution),
            Ended::Prepare(xid, vote) => self.votes.tell(&xid, vote),
            Ended::OnePhase(xid, result) => self.one_phase.tell(&xid, result),
            Ended::Commit(xid, committed) => self.commits.tell(&xid, committed),
            Ended::Abort(xid) => self.aborts.tell(&xid, ()),
            Ended::Force(number) => self.forces.tell(&number, ()),
        }
    }
}

impl<K: Ord, T: Clone> Waiting<K, T> {
    /// Waits from now on, not from the first poll: the answer may come at once.
    pub(super) fn wait(&mut self, key: K) -> impl Future<Output = T> + use<K, T> {
        let (sender, receiver) = channel();
        self.0.entry(key).or_default().push(sender);
        answer(receiver)
    }

    fn tell(&mut self, key: &K, answer: T) {
        let Some(mut waiting) = self.0.remove(key) else { return };
        let last = waiting.pop();
        for sender in waiting {
            // Whoever waited may be gone; what was done stays done.
            let _ = sender.send(answer.clone());
        }
        let _ = last.map(|last| last.send(answer));
    }
}

impl<K, T> Default for Waiting<K, T> {
    fn default() -> Self {
        Self(BTreeMap::new())
    }
}

async fn answer<T>(receiver: Receiver<T>) -> T {
    match receiver.await {
        Ok(answer) => answer,
        // The store is gone: no answer is the only right one.
        Err(_) => std::future::pending().await,
    }
}
