//! A3: a Yes is on disk before it is said, and only a decision ends it; what was acknowledged is done for good.

use std::collections::{BTreeMap, BTreeSet};

use handfast_common::ids::Xid;
use handfast_common::messages::Answer;
use handfast_common::outcome::{Decision, Vote};
use handfast_participant::protocol::Recovered;

use super::Verdict;

/// By participant.
#[derive(Clone, Default, Debug)]
pub(crate) struct BindingVotes {
    /// Yes was said, and neither done nor undone is known here.
    owed: BTreeMap<usize, BTreeSet<Xid>>,
    acknowledged: BTreeMap<usize, BTreeSet<Xid>>,
    /// The order to undo was given to the store: after a crash it may be there again, and be undone again.
    undoing: BTreeMap<usize, BTreeSet<Xid>>,
}

impl BindingVotes {
    /// A participant answers.
    pub(crate) fn said(&mut self, n: usize, answer: &Answer) -> Verdict {
        match answer {
            Answer::Voted { xid, vote: Vote::Yes(_) } => {
                // A copy of its Prepare gets the same vote; that promises nothing once its decision has been carried out.
                let mut ends = [&self.acknowledged, &self.undoing].into_iter().filter_map(|ended| ended.get(&n));
                let ended = ends.any(|ended| ended.contains(xid));
                if !ended {
                    self.owed.entry(n).or_default().insert(*xid);
                }
                Ok(())
            }
            Answer::Voted { xid, vote: vote @ (Vote::No(_) | Vote::ReadOnly(_)) } if self.owes(n, *xid) => {
                Err(format!("p{n} voted Yes on {} and now {vote:?}", xid.txn))
            }
            Answer::Acknowledged { xid } => {
                self.owed.entry(n).or_default().remove(xid);
                self.acknowledged.entry(n).or_default().insert(*xid);
                Ok(())
            }
            Answer::Voted { .. }
            | Answer::Welcome(_)
            | Answer::Released { .. }
            | Answer::Received
            | Answer::OnePhaseEnded { .. }
            | Answer::Refused(_) => Ok(()),
        }
    }

    /// A participant undoes a branch; `decided` is what the coordinator has said.
    pub(crate) fn undoes(&mut self, n: usize, xid: Xid, decided: Option<Decision>) -> Verdict {
        if self.owes(n, xid) && decided != Some(Decision::Abort) {
            return Err(format!("p{n} leaves {} on its own after its Yes", xid.txn));
        }
        self.owed.entry(n).or_default().remove(&xid);
        self.undoing.entry(n).or_default().insert(xid);
        Ok(())
    }

    /// Its folder is replaced by an older copy: what was promised since is for others to remember.
    pub(crate) fn put_back(&mut self, n: usize) {
        self.owed.remove(&n);
        self.acknowledged.remove(&n);
    }

    /// A participant starts, and this is what it found.
    pub(crate) fn found(&self, n: usize, found: &Recovered) -> Verdict {
        let prepared = |xid: &Xid| found.prepared.iter().any(|record| record.xid == *xid);
        let done = |xid: &Xid| found.done.iter().any(|done| done.xid == *xid);
        let covered = |xid: &Xid| {
            let mark = |line: &handfast_participant::protocol::Line| {
                line.log == xid.log && line.mark.as_ref().is_some_and(|mark| mark.covers(xid.txn))
            };
            found.lines.iter().any(mark)
        };
        let owed = self.owed.get(&n).into_iter().flatten().find(|xid| !prepared(xid) && !done(xid));
        if let Some(xid) = owed {
            return Err(format!("p{n} said Yes to {} and a restart does not find it", xid.txn));
        }
        let lost = self.acknowledged.get(&n).into_iter().flatten().find(|xid| !done(xid) && !covered(xid));
        match lost {
            Some(xid) => Err(format!("p{n} acknowledged {} and a restart does not find it", xid.txn)),
            None => Ok(()),
        }
    }

    /// All branches with a Yes whose end is not known.
    pub(crate) fn open(&self) -> impl Iterator<Item = (usize, Xid)> {
        self.owed.iter().flat_map(|(n, owed)| owed.iter().map(|xid| (*n, *xid)))
    }

    fn owes(&self, n: usize, xid: Xid) -> bool {
        self.owed.get(&n).is_some_and(|owed| owed.contains(&xid))
    }
}
