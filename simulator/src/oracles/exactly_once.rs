//! A5: whatever is sent how often, in which order, each effect happens once.

use super::{End, Verdict};

pub(super) fn never_twice(end: &End<'_>) -> Verdict {
    for (key, wanted) in end.ledger.iter() {
        for name in wanted.writers() {
            let times = end.effects(*key, name);
            if !(0..=1).contains(&times) {
                return Err(format!("{key} took effect {times} times at {name}"));
            }
        }
    }
    Ok(())
}
