//! A1: a transaction takes effect at all participants where it writes, or at none.

use super::{End, Verdict};

pub(super) fn all_or_nothing(end: &End<'_>) -> Verdict {
    for (key, wanted) in end.ledger.iter() {
        let effects: Vec<_> = wanted.writers().map(|name| (name, end.effects(*key, name) > 0)).collect();
        if effects.iter().any(|(_, took)| *took) && effects.iter().any(|(_, took)| !took) {
            return Err(format!("a part of {key} took effect: {effects:?}; its client knows {:?}", wanted.known));
        }
    }
    Ok(())
}
