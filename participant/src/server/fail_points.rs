//! Where a process under test may end around what the machine orders.

use handfast_common::failpoints::reach;
use handfast_common::messages::Answer;
use handfast_common::outcome::Vote;

use crate::protocol::Effect;

/// The point before an effect is carried out.
pub(super) fn before(effect: &Effect) {
    match effect {
        Effect::Enlist { .. } => reach("kv1.before_enlist"),
        Effect::Execute { .. } => reach("kv1.before_execute"),
        Effect::ReplyExecuted { .. } => reach("kv1.before_result"),
        Effect::Prepare { .. } => reach("kv2.before_prepare"),
        Effect::Reply { answer: Answer::Voted { vote: Vote::Yes(_), .. }, .. } => reach("kv3.before_vote"),
        Effect::Reply { answer: Answer::Acknowledged { .. }, .. } => reach("kv6.before_acknowledgement"),
        Effect::Commit { .. } => reach("kv5.before_apply"),
        Effect::Inquire { .. } => reach("kv8.before_inquiry"),
        Effect::ReplyPeer { .. } => reach("kv8.before_peer_answer"),
        _ => {}
    }
}
