//! A6: what was aborted has no effect.

use super::{End, Verdict};
use crate::clients::Known;

pub(super) fn aborted_is_not_there(end: &End<'_>) -> Verdict {
    for (key, wanted) in end.ledger.iter() {
        if !matches!(wanted.known, Known::Aborted(..)) {
            continue;
        }
        if let Some(name) = wanted.writers().find(|name| end.effects(*key, name) > 0) {
            return Err(format!("{key} was told aborted and took effect at {name}"));
        }
    }
    Ok(())
}
