//! A full disk: below the reserve nothing new is taken up, so that phase two of the old finds room (t16).

use std::collections::BTreeSet;

use handfast_common::ids::Xid;
use handfast_participant::kv::record::Item;

use super::Verdict;

/// New work that has waited for a participant's disk.
#[derive(Clone, Default, Debug)]
pub(crate) struct Room(BTreeSet<(usize, Xid)>);

impl Room {
    /// This waits for a participant's disk now, and whether that has room for new work.
    pub(crate) fn queued<'a>(&mut self, n: usize, items: impl Iterator<Item = &'a Item>, room: bool) -> Verdict {
        for item in items {
            let xid = match item {
                Item::Prepare { xid, .. } | Item::Apply { xid, prepared: false, .. } => *xid,
                Item::Apply { .. } | Item::Forget { .. } | Item::Line(_) => continue,
            };
            if self.0.insert((n, xid)) && !room {
                return Err(format!("p{n} takes up {}, and its disk is below the reserve", xid.txn));
            }
        }
        Ok(())
    }
}
