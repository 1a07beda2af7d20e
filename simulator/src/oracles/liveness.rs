//! L1, L3: after the last fault no branch stays in doubt, and whoever asks hears an outcome.

use super::{End, Verdict};

pub(super) fn everybody_knows(end: &End<'_>) -> Verdict {
    match end.ledger.iter().find(|(_, wanted)| !wanted.is_known()) {
        Some((key, wanted)) => Err(format!("the outcome of {key} is not known in the end: {:?}", wanted.known)),
        None => Ok(()),
    }
}
