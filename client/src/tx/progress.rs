//! How far a transaction has come, as this process knows it: what may still be done, and what `commit` will say.

use std::collections::BTreeMap;

use handfast_common::ids::{Incarnation, Name, StoreId};
use handfast_common::messages::{Count, Identity};
use handfast_common::outcome::{Reason, ReasonKind};

use super::error::{CommitError, OperationError};

/// What is known. Changed under one lock, and never over an await.
#[derive(Debug, Default)]
pub(super) struct Progress {
    phase: Phase,
    /// Operations numbered so far.
    numbered: u64,
    /// Operations somebody waits for, by participant.
    waited_for: BTreeMap<Name, usize>,
    /// A participant where nobody waits any more for the answer to an operation.
    unanswered: Option<Name>,
    done: BTreeMap<Name, Done>,
    /// Whether anybody else was given the context.
    shared: bool,
}

#[derive(Debug, Default)]
enum Phase {
    #[default]
    Open,
    /// It can't commit any more.
    Doomed(Reason),
    /// Committed or rolled back, or on the way to it.
    Ended,
}

/// What was answered by one participant.
#[derive(Debug)]
struct Done {
    /// The start of it that holds the branch.
    who: (StoreId, Incarnation),
    operations: u64,
}

/// How an operation ended for whoever waited for it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Waited {
    /// With an answer, or it certainly never left.
    Settled,
    /// It may have been carried out.
    LetGo,
}

/// What a commit says of the work.
#[derive(PartialEq, Eq, Debug)]
pub(super) struct Worked {
    pub(super) counts: Vec<Count>,
    pub(super) shared: bool,
}

impl Progress {
    /// Gives an operation its number.
    pub(super) fn begin(&mut self, participant: &Name) -> Result<u64, OperationError> {
        match &self.phase {
            Phase::Open => {}
            Phase::Doomed(reason) => return Err(OperationError::Doomed(reason.clone())),
            Phase::Ended => return Err(OperationError::Ended),
        }
        self.numbered += 1;
        *self.waited_for.entry(participant.clone()).or_default() += 1;
        Ok(self.numbered)
    }

    /// Nobody waits for that operation any more.
    pub(super) fn waited(&mut self, participant: &Name, how: Waited) {
        if let Some(waited_for) = self.waited_for.get_mut(participant) {
            *waited_for -= 1;
            if *waited_for == 0 {
                self.waited_for.remove(participant);
            }
        }
        if how == Waited::LetGo {
            self.unanswered.get_or_insert_with(|| participant.clone());
        }
    }

    /// Whether it is the same start of the participant that answers as before: another one has lost the branch.
    pub(super) fn recognize(&mut self, who: &Identity) -> Result<(), Reason> {
        match self.done.get(&who.name) {
            Some(done) if done.who != (who.store, who.incarnation) => {
                let reason = Reason::new(ReasonKind::Lost, format!("participant '{}' was restarted", who.name));
                self.doom(reason.clone());
                Err(reason)
            }
            _ => Ok(()),
        }
    }

    /// Counts an operation that was carried out.
    pub(super) fn count(&mut self, who: &Identity) {
        let fresh = || Done { who: (who.store, who.incarnation), operations: 0 };
        self.done.entry(who.name.clone()).or_insert_with(fresh).operations += 1;
    }

    /// The first reason counts.
    pub(super) fn doom(&mut self, reason: Reason) {
        if matches!(self.phase, Phase::Open) {
            self.phase = Phase::Doomed(reason);
        }
    }

    pub(super) fn doomed(&self) -> Option<Reason> {
        match &self.phase {
            Phase::Doomed(reason) => Some(reason.clone()),
            Phase::Open | Phase::Ended => None,
        }
    }

    /// From now on participants may know of more than this process does.
    pub(super) const fn share(&mut self) {
        self.shared = true;
    }

    /// Ends it for a commit. An error other than `Ended` means that it has to be rolled back.
    pub(super) fn end_with_commit(&mut self) -> Result<Worked, CommitError> {
        match std::mem::replace(&mut self.phase, Phase::Ended) {
            Phase::Open => {}
            Phase::Doomed(reason) => return Err(CommitError::Aborted(reason)),
            Phase::Ended => return Err(CommitError::Ended),
        }
        if let Some(name) = self.unanswered.as_ref().or_else(|| self.waited_for.keys().next()) {
            return Err(CommitError::Unanswered(name.clone()));
        }
        let count = |(name, done): (&Name, &Done)| Count { participant: name.clone(), operations: done.operations };
        Ok(Worked { counts: self.done.iter().map(count).collect(), shared: self.shared })
    }

    /// Ends it; whether it had not ended before.
    pub(super) fn end(&mut self) -> bool {
        !matches!(std::mem::replace(&mut self.phase, Phase::Ended), Phase::Ended)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use handfast_common::ids::Age;
    use uuid::Uuid;

    fn who(name: &str, incarnation: u64) -> Identity {
        let (name, store) = (Name::new(name).expect("a name"), StoreId(Uuid::from_u128(1)));
        Identity { name, store, incarnation: Incarnation(incarnation), sequence: 0, clock: Age(0) }
    }

    fn done(progress: &mut Progress, who: &Identity) {
        progress.begin(&who.name).expect("open");
        progress.recognize(who).expect("the same");
        progress.count(who);
        progress.waited(&who.name, Waited::Settled);
    }

    #[test]
    fn a_commit_tells_how_many_operations_were_answered_where() {
        let mut progress = Progress::default();
        [who("b", 1), who("a", 2), who("b", 1)].iter().for_each(|who| done(&mut progress, who));
        progress.share();
        let count = |name, operations| Count { participant: Name::new(name).expect("a name"), operations };
        let worked = Worked { counts: vec![count("a", 1), count("b", 2)], shared: true };
        assert_eq!(progress.end_with_commit(), Ok(worked));
        assert_eq!(progress.end_with_commit(), Err(CommitError::Ended));
        assert_eq!(progress.begin(&who("a", 2).name), Err(OperationError::Ended));
        assert!(!progress.end());
    }

    #[test]
    fn t10a_another_start_of_a_participant_dooms_it_and_the_first_reason_counts() {
        let mut progress = Progress::default();
        done(&mut progress, &who("a", 1));
        assert!(progress.recognize(&who("a", 1)).is_ok());
        let lost = progress.recognize(&who("a", 2)).expect_err("another start");
        assert_eq!(lost.kind, ReasonKind::Lost);
        progress.doom(Reason::new(ReasonKind::Conflict, ""));
        assert_eq!(progress.doomed(), Some(lost.clone()));
        assert_eq!(progress.begin(&who("b", 1).name), Err(OperationError::Doomed(lost.clone())));
        assert_eq!(progress.end_with_commit(), Err(CommitError::Aborted(lost)));
    }

    #[test]
    fn t10e_nothing_is_committed_while_an_operation_is_unanswered() {
        for let_go in [false, true] {
            let mut progress = Progress::default();
            let name = who("a", 1).name;
            progress.begin(&name).expect("open");
            if let_go {
                progress.waited(&name, Waited::LetGo);
            }
            assert_eq!(progress.end_with_commit(), Err(CommitError::Unanswered(name)));
        }
    }
}
