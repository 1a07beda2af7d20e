//! `txn list` at a participant: its own branches, as the machine knows them and the clock dates them.

use std::collections::BTreeMap;

use tokio::time::Instant;

use handfast_common::ids::{Name, Xid};
use handfast_common::limits::MAX_PAGE;
use handfast_common::messages::{AskPage, BranchLine, TxnLine, TxnPage};

use crate::protocol::{BranchView, Participant};

/// Branch lines of one page, together: a page must fit a frame.
const MAX_BRANCH_LINES: usize = 4 * MAX_PAGE;

/// Since when branches are in doubt: the machine has no clock.
#[derive(Debug, Default)]
pub(super) struct Doubts(BTreeMap<Xid, Instant>);

impl Doubts {
    pub(super) fn begins(&mut self, xid: Xid) {
        self.0.entry(xid).or_insert_with(Instant::now);
    }

    pub(super) fn ends(&mut self, xid: Xid) {
        self.0.remove(&xid);
    }

    fn milliseconds(&self, xid: Xid) -> u64 {
        self.0.get(&xid).map_or(0, |since| u64::try_from(since.elapsed().as_millis()).unwrap_or(u64::MAX))
    }
}

/// A page of branches, in order of transaction.
pub(super) fn page(machine: &Participant, own: &Name, doubts: &Doubts, ask: &AskPage) -> TxnPage {
    let mut branches: Vec<BranchView<'_>> = machine
        .branches()
        .filter(|branch| ask.ended || !branch.ended)
        .filter(|branch| ask.after.is_none_or(|after| branch.xid.txn > after))
        .filter(|branch| {
            let txn = branch.xid.txn;
            ask.within.is_none_or(|(first, last)| (first..=last).contains(&txn))
        })
        .collect();
    branches.sort_unstable_by_key(|branch| branch.xid.txn);
    let mut page = TxnPage { lines: Vec::new(), more: false };
    let mut lines = 0;
    for branch in branches {
        if page.lines.len() == MAX_PAGE || lines >= MAX_BRANCH_LINES {
            page.more = true;
            break;
        }
        let line = line(own, doubts, &branch);
        lines += line.branches.len();
        page.lines.push(line);
    }
    page
}

fn line(own: &Name, doubts: &Doubts, branch: &BranchView<'_>) -> TxnLine {
    let mine =
        BranchLine { participant: own.clone(), vote: branch.vote.map(str::to_owned), state: branch.state.to_owned() };
    // Of the others little is known here but that they take part.
    let others = branch.members.iter().filter(|member| member.who.name != *own).map(|member| BranchLine {
        participant: member.who.name.clone(),
        vote: None,
        state: branch.said(&member.who.name).to_owned(),
    });
    TxnLine {
        txn: branch.xid.txn,
        key: branch.key,
        state: branch.state.to_owned(),
        since_ms: doubts.milliseconds(branch.xid),
        branches: std::iter::once(mine).chain(others).collect(),
    }
}
