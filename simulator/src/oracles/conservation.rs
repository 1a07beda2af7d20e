//! Nothing that was begun gets out of count: in every epoch, begun = live + ended.

use handfast_common::messages::AskPage;
use handfast_coordinator::protocol::Coordinator;

use super::Verdict;

/// Of the present epoch; outcomes must not have been trimmed.
pub(crate) fn begun_is_live_and_ended(machine: &Coordinator) -> Verdict {
    let (_, epoch, _, begun) = machine.standing();
    let (live, undecided) = machine.load();
    if undecided > live {
        return Err(format!("{undecided} undecided of {live} live transactions"));
    }
    let mut listed = 0;
    let mut after = None;
    loop {
        let page = machine.page(&AskPage { after, within: None, ended: true });
        listed += page.lines.iter().filter(|line| line.txn.epoch() == epoch).count() as u64;
        after = page.lines.last().map(|line| line.txn);
        if !page.more {
            break;
        }
    }
    if listed != begun {
        return Err(format!("{begun} transactions were begun in this epoch, and {listed} are live or ended"));
    }
    Ok(())
}
