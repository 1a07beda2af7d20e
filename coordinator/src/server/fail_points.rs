//! Where a process under test may end around what the machine orders and hears.

use handfast_common::failpoints::reach;
use handfast_common::messages::{Answer, Enlisted, FromParticipant, Order, Told};
use handfast_common::outcome::{Decision, Outcome};

use crate::protocol::Effect;

/// The point before an effect is carried out; gives the one behind it, for [`after`].
pub(super) fn before(effect: &Effect) -> Option<&'static str> {
    match effect {
        Effect::Reply { told: Told::Outcome { outcome: Outcome::Committed(_), .. }, .. } => {
            reach("co6.before_reply");
            Some("co6.after_reply")
        }
        Effect::ReplyEnlisted { answer: Enlisted::Accepted { .. }, .. } => {
            reach("co2.before_enlisted");
            None
        }
        Effect::ReplyInquiry { .. } => {
            reach("co11.before_answer");
            None
        }
        Effect::Send { message, .. } => match &message.order {
            Order::Prepare(_) => Some("co3.after_first_send"),
            Order::Decide { decision: Decision::Commit, .. } => {
                reach("co7.before_send");
                Some("co7.after_first_send")
            }
            Order::CommitOnePhase(_) => Some("co12.after_send"),
            Order::Hello { .. } | Order::Decide { .. } | Order::Release { .. } | Order::AskOnePhase { .. } => None,
        },
        _ => None,
    }
}

/// The point behind an effect.
pub(super) fn after(point: Option<&'static str>) {
    if let Some(point) = point {
        reach(point);
    }
}

/// The point before an answer is looked at.
pub(super) fn heard(message: &FromParticipant) {
    match &message.answer {
        Answer::Voted { .. } => reach("co4.before_vote"),
        Answer::Acknowledged { .. } => reach("co8.before_acknowledgement"),
        Answer::OnePhaseEnded { .. } => reach("co12.before_result"),
        Answer::Welcome(_) | Answer::Released { .. } | Answer::Received | Answer::Refused(_) => {}
    }
}
