//! Messages on their way: what they are, and which rule catches them.

use handfast_common::ids::{Key, TxnId};
use handfast_common::messages::{Answer, Order};
use handfast_common::outcome::Decision;

use super::super::{Body, World};
use super::Fate;
use crate::plan::Host;
use crate::timelines::script::{Kind, Message};

impl World {
    /// A message sets out. True if it was caught: then it does not go on.
    pub(in crate::world) fn is_caught(&mut self, from: Host, to: Host, body: &Body) -> bool {
        let Some(message) = self.described(from, to, body) else { return false };
        let Some(stage) = &mut self.stage else { return false };
        let Some(at) = stage.rules.iter().position(|(rule, _)| fits(rule, &message)) else { return false };
        let (rule, fate) = stage.rules[at];
        match fate {
            Fate::Held | Fate::Copied | Fate::Lost => drop(stage.rules.remove(at)),
            Fate::AllHeld | Fate::AllLost => {}
        }
        if matches!(fate, Fate::Held | Fate::AllHeld | Fate::Copied) {
            stage.waiting.push((rule, from, to, body.clone()));
        }
        self.say(|| format!("CAUGHT, {fate:?}: {body:?}"));
        fate != Fate::Copied
    }

    /// A message has come, and somebody is there.
    pub(in crate::world) fn note_arrival(&mut self, from: Host, to: Host, body: &Body) {
        let there = match to {
            Host::Coordinator => self.coordinator.is_ready(),
            Host::Participant(n) => self.participants[n].is_up(),
            Host::Clients => true,
        };
        if let (true, Some(message)) = (there, self.described(from, to, body))
            && let Some(stage) = &mut self.stage
        {
            *stage.came.entry(message).or_default() += 1;
        }
    }

    fn described(&mut self, from: Host, to: Host, body: &Body) -> Option<Message> {
        self.stage.as_ref()?;
        let (kind, about) = kind_and_txn(body);
        let of = match about {
            About::Txn(id) => self.txn_of(id),
            About::Key(key) => self.stage.as_ref()?.txn_under(key),
            About::Nothing => None,
        };
        let with = match (from, to) {
            // The one that is asked.
            (Host::Participant(_), Host::Participant(_)) if kind == Kind::PeerTold => from,
            (_, Host::Participant(_)) => to,
            (Host::Participant(_), _) => from,
            (Host::Coordinator | Host::Clients, Host::Coordinator | Host::Clients) => Host::Clients,
        };
        Some(Message { kind, with, of })
    }
}

/// Whether a rule means this message.
pub(super) fn fits(rule: &Message, message: &Message) -> bool {
    (rule.kind, rule.with) == (message.kind, message.with) && (rule.of.is_none() || rule.of == message.of)
}

enum About {
    Txn(TxnId),
    Key(Key),
    Nothing,
}

fn kind_and_txn(body: &Body) -> (Kind, About) {
    match body {
        Body::Order(_, message) => order(&message.order),
        Body::Answer(_, message) => answer(&message.answer),
        Body::Inquiry(_, inquiry) => (Kind::Inquiry, About::Txn(inquiry.xid.txn)),
        Body::InquiryAnswer(_, xid, _) => (Kind::InquiryAnswer, About::Txn(xid.txn)),
        Body::Register(..) => (Kind::Register, About::Nothing),
        Body::Registered(..) => (Kind::Registered, About::Nothing),
        Body::Submit(key) => (Kind::Submit, About::Key(*key)),
        Body::Ask(key) => (Kind::Ask, About::Key(*key)),
        Body::Enlist(_, enlist) => (Kind::Enlist, About::Txn(enlist.xid.txn)),
        Body::EnlistAnswer(_, xid, _) => (Kind::Enlisted, About::Txn(xid.txn)),
        Body::PeerInquiry(_, inquiry) => (Kind::PeerInquiry, About::Txn(inquiry.xid.txn)),
        Body::PeerTold(_, xid, _) => (Kind::PeerTold, About::Txn(xid.txn)),
        Body::Begin(key) => (Kind::Begin, About::Key(*key)),
        Body::Begun(key, _) => (Kind::Begun, About::Key(*key)),
        Body::Execute(key, _) => (Kind::Execute, About::Key(*key)),
        Body::Executed(key, ..) => (Kind::Executed, About::Key(*key)),
        Body::Commit(key, _) => (Kind::CommitRequest, About::Key(*key)),
        Body::Rollback(xid) => (Kind::Rollback, About::Txn(xid.txn)),
        Body::Told(key, ..) => (Kind::Told, About::Key(*key)),
    }
}

fn order(order: &Order) -> (Kind, About) {
    match order {
        Order::Hello { .. } => (Kind::Hello, About::Nothing),
        Order::Prepare(order) => (Kind::Prepare, About::Txn(order.xid.txn)),
        Order::Release { xid, .. } => (Kind::Release, About::Txn(xid.txn)),
        Order::Decide { xid, decision: Decision::Commit, .. } => (Kind::Commit, About::Txn(xid.txn)),
        Order::Decide { xid, decision: Decision::Abort, .. } => (Kind::Abort, About::Txn(xid.txn)),
        Order::CommitOnePhase(order) => (Kind::OnePhase, About::Txn(order.xid.txn)),
        Order::AskOnePhase { xid, .. } => (Kind::AskOnePhase, About::Txn(xid.txn)),
    }
}

fn answer(answer: &Answer) -> (Kind, About) {
    match answer {
        Answer::Welcome(_) => (Kind::Welcome, About::Nothing),
        Answer::Voted { xid, .. } => (Kind::Vote, About::Txn(xid.txn)),
        Answer::Released { xid, .. } => (Kind::Released, About::Txn(xid.txn)),
        Answer::Acknowledged { xid } => (Kind::Acknowledged, About::Txn(xid.txn)),
        Answer::Received => (Kind::Received, About::Nothing),
        Answer::OnePhaseEnded { xid, .. } => (Kind::OnePhaseEnded, About::Txn(xid.txn)),
        Answer::Refused(_) => (Kind::Refused, About::Nothing),
    }
}
