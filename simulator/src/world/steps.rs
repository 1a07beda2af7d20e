//! To which step of the protocol everything belongs, for the matrix of faults.

use handfast_common::messages::{Answer, Order};
use handfast_coordinator::log::Entry;
use handfast_coordinator::protocol as c;
use handfast_participant::kv::inline::InlineStore;
use handfast_participant::kv::record::Item;
use handfast_participant::protocol as p;

use super::Body;
use crate::matrix::Step;

/// The step that an order belongs to.
pub(super) fn of_order(order: &Order) -> Step {
    match order {
        Order::Hello { .. } => Step::Co10,
        Order::Prepare(_) => Step::Co3,
        Order::Decide { .. } => Step::Co7,
        Order::Release { .. } | Order::CommitOnePhase(_) | Order::AskOnePhase { .. } => Step::Co12,
    }
}

/// The step that a message belongs to.
pub(super) fn of_message(body: &Body) -> Step {
    match body {
        Body::Order(_, message) => of_order(&message.order),
        Body::Answer(_, message) => match &message.answer {
            Answer::Welcome(_) => Step::Kv7,
            Answer::Voted { .. } => Step::Kv3,
            Answer::Acknowledged { .. } | Answer::Received => Step::Kv6,
            Answer::Released { .. } | Answer::OnePhaseEnded { .. } => Step::Co12,
            Answer::Refused(_) => Step::Co4,
        },
        Body::Inquiry(..) | Body::PeerInquiry(..) | Body::PeerTold(..) => Step::Kv8,
        Body::Enlist(..) | Body::EnlistAnswer(..) | Body::Begin(_) | Body::Begun(..) => Step::Lib1,
        Body::Execute(..) | Body::Executed(..) => Step::Lib1,
        Body::Commit(..) | Body::Rollback(..) => Step::Lib2,
        Body::InquiryAnswer(..) => Step::Co11,
        Body::Register(..) | Body::Registered(..) => Step::Co10,
        Body::Submit(_) => Step::Lib2,
        Body::Ask(_) => Step::Lib3,
        Body::Told(_, true, _) => Step::Co6,
        Body::Told(_, false, _) => Step::Lib3,
    }
}

/// The step at the other end of a message, where that is another one: what is lost on its way is missed there.
pub(super) fn at_the_other_end(body: &Body) -> &'static [Step] {
    match body {
        Body::Order(_, message) => match message.order {
            Order::Decide { .. } => &[Step::Kv5],
            Order::Hello { .. }
            | Order::Prepare(_)
            | Order::Release { .. }
            | Order::CommitOnePhase(_)
            | Order::AskOnePhase { .. } => &[],
        },
        Body::Answer(_, message) => match message.answer {
            Answer::Voted { .. } => &[Step::Co4],
            Answer::Acknowledged { .. } => &[Step::Co8],
            Answer::Welcome(_)
            | Answer::Released { .. }
            | Answer::OnePhaseEnded { .. }
            | Answer::Received
            | Answer::Refused(_) => &[],
        },
        _ => &[],
    }
}

/// The step that an effect belongs to.
pub(super) fn of_coordinator(effect: &c::Effect) -> Step {
    match effect {
        c::Effect::Append { record, .. } => of_record(record),
        c::Effect::Send { message, .. } => of_order(&message.order),
        c::Effect::Reply { .. } => Step::Co6,
        c::Effect::ReplyInquiry { .. } => Step::Co11,
        c::Effect::ReplyEnlisted { .. } => Step::Co2,
        c::Effect::ReplyBegun { .. } => Step::Lib1,
        c::Effect::SetTimer { timer: c::Timer::Prepare(_), .. } => Step::Co4,
        c::Effect::SetTimer { timer: c::Timer::Resend(_), .. } => Step::Co8,
        c::Effect::SetTimer { .. }
        | c::Effect::ReplyRegistered { .. }
        | c::Effect::ReplyRegistry { .. }
        | c::Effect::Say { .. }
        | c::Effect::Dial { .. }
        | c::Effect::HangUp { .. }
        | c::Effect::Forget { .. }
        | c::Effect::Stop { .. } => Step::Co10,
    }
}

/// The step that a record belongs to.
pub(super) fn of_record(record: &c::Record) -> Step {
    match record {
        c::Record::Epoch { .. } => Step::Co1,
        c::Record::Participant(_) | c::Record::Operator { .. } => Step::Co2,
        c::Record::Commit(_) => Step::Co5,
        c::Record::OnePhase(_) => Step::Co12,
        c::Record::End { .. } | c::Record::Floor { .. } | c::Record::Tick { .. } => Step::Co9,
    }
}

/// The step that an effect belongs to.
pub(super) fn of_participant(effect: &p::Effect) -> Step {
    match effect {
        p::Effect::Prepare { .. } | p::Effect::Execute { .. } => Step::Kv1,
        p::Effect::CommitOnePhase { .. } | p::Effect::Release { .. } => Step::Co12,
        p::Effect::Cancel { .. } => Step::Kv1,
        p::Effect::Commit { .. } | p::Effect::Abort { .. } => Step::Kv5,
        p::Effect::ForceLine(_) | p::Effect::NoteLine(_) => Step::Kv7,
        p::Effect::Reply { answer, .. } => match answer {
            Answer::Voted { .. } => Step::Kv3,
            Answer::Acknowledged { .. } | Answer::Received => Step::Kv6,
            Answer::Released { .. } | Answer::OnePhaseEnded { .. } => Step::Co12,
            Answer::Welcome(_) | Answer::Refused(_) => Step::Kv7,
        },
        p::Effect::Inquire { .. } | p::Effect::InquirePeer { .. } => Step::Kv8,
        p::Effect::SetTimer { timer: p::Timer::Inquire(_), .. } => Step::Kv4,
        p::Effect::SetTimer { .. } => Step::Kv1,
        p::Effect::Enlist { .. } => Step::Co2,
        p::Effect::ReplyExecuted { .. }
        | p::Effect::ReplyPeer { .. }
        | p::Effect::Say { .. }
        | p::Effect::Stop { .. } => Step::Kv7,
    }
}

/// What a batch of the log is about.
pub(super) fn of_entries(entries: &[Entry]) -> Vec<Step> {
    let mut steps: Vec<Step> = entries.iter().map(|entry| of_record(&entry.record)).collect();
    steps.sort();
    steps.dedup();
    steps
}

/// What a batch of a store is about.
pub(super) fn of_batch(store: &InlineStore) -> Vec<Step> {
    let step = |item: &Item| match item {
        Item::Prepare { .. } => Step::Kv2,
        Item::Apply { .. } | Item::Forget { .. } => Step::Kv5,
        Item::Line(_) => Step::Kv7,
    };
    let mut steps: Vec<Step> = store.queued_items().map(step).collect();
    steps.sort();
    steps.dedup();
    steps
}
