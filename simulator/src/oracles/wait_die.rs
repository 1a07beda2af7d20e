//! L2: whoever waits for a lock is older than all it waits for, so nobody waits for ever and nobody starves (t18).

use handfast_common::ids::Xid;

use super::Verdict;

/// `waiter`: somebody at a participant who waits for one that is not younger, and the key.
pub(crate) fn only_older_ones_wait(n: usize, waiter: Option<(Xid, &str)>) -> Verdict {
    match waiter {
        Some((xid, key)) => Err(format!("at p{n} {} waits for '{key}' behind an older one", xid.txn)),
        None => Ok(()),
    }
}
