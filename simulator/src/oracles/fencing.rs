//! A10: whoever has seen a newer epoch does nothing for an older one.

use handfast_common::messages::Answer;
use handfast_participant::protocol::Effect;

use super::Verdict;

#[derive(Clone, Default, Debug)]
pub(crate) struct Fencing {
    refused: u64,
}

impl Fencing {
    /// A participant has taken in an order; `stale` when it had seen a newer epoch.
    pub(crate) fn obeyed(&mut self, n: usize, stale: bool, effects: &[Effect]) -> Verdict {
        if !stale {
            return Ok(());
        }
        self.refused += 1;
        let only_refused = |effect: &Effect| matches!(effect, Effect::Reply { answer: Answer::Refused(_), .. });
        match effects.iter().find(|effect| !only_refused(effect)) {
            Some(effect) => Err(format!("p{n} obeys an order of an older epoch: {effect:?}")),
            None => Ok(()),
        }
    }
}
