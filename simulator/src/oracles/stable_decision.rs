//! A2: one decision per transaction, over all starts of the coordinator and to whomever it is told.

use std::collections::BTreeMap;

use handfast_common::ids::Xid;
use handfast_common::messages::InquiryAnswer;
use handfast_common::outcome::Decision;

use super::Verdict;

#[derive(Clone, Default, Debug)]
pub(crate) struct StableDecision(BTreeMap<Xid, Decision>);

impl StableDecision {
    /// The coordinator orders it.
    pub(crate) fn said(&mut self, xid: Xid, decision: Decision) -> Verdict {
        match self.0.insert(xid, decision) {
            Some(before) if before != decision => Err(format!("{} was {before:?} and is {decision:?} now", xid.txn)),
            _ => Ok(()),
        }
    }

    /// The coordinator answers an inquiry.
    pub(crate) fn answered(&mut self, xid: Xid, answer: &InquiryAnswer) -> Verdict {
        match answer {
            InquiryAnswer::Decided(decision) => self.said(xid, *decision),
            InquiryAnswer::Undecided | InquiryAnswer::NotMine => Ok(()),
        }
    }

    /// What was decided, as far as anybody was told.
    pub(crate) fn of(&self, xid: Xid) -> Option<Decision> {
        self.0.get(&xid).copied()
    }
}
