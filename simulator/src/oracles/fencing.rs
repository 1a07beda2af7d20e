//! A10: whoever has seen a newer epoch does nothing for an older one.

use std::collections::BTreeMap;

use handfast_common::ids::Epoch;
use handfast_common::messages::Answer;
use handfast_participant::protocol::Effect;

use super::Verdict;

#[derive(Clone, Default, Debug)]
pub(crate) struct Fencing {
    /// The highest epoch that each participant has welcomed: it may not forget that by a restart.
    welcomed: BTreeMap<usize, Epoch>,
}

impl Fencing {
    /// A participant answers the Hello of an epoch.
    pub(crate) fn welcomed(&mut self, n: usize, epoch: Epoch) {
        let known = self.welcomed.entry(n).or_insert(epoch);
        *known = epoch.max(*known);
    }

    /// Its folder is replaced by an older copy.
    pub(crate) fn put_back(&mut self, n: usize) {
        self.welcomed.remove(&n);
    }

    /// Whether a participant must not listen to this epoch any more.
    pub(crate) fn is_stale(&self, n: usize, epoch: Epoch) -> bool {
        self.welcomed.get(&n).is_some_and(|welcomed| epoch < *welcomed)
    }

    /// A participant has taken in an order; `stale` when it had seen a newer epoch.
    pub(crate) fn obeyed(n: usize, stale: bool, effects: &[Effect]) -> Verdict {
        if !stale {
            return Ok(());
        }
        let only_refused = |effect: &Effect| matches!(effect, Effect::Reply { answer: Answer::Refused(_), .. });
        match effects.iter().find(|effect| !only_refused(effect)) {
            Some(effect) => Err(format!("p{n} obeys an order of an older epoch: {effect:?}")),
            None => Ok(()),
        }
    }
}
