//! Bytes and messages of somebody who is none of us. Nothing comes of them: no decoder panics, and no machine does
//! anything for whom it does not know, or about what there is not. (Whoever holds a key of ours and lies is not meant: no
//! protocol of this kind survives that.)

use handfast_common::codec;
use handfast_common::ids::{Age, Epoch, Incarnation, Key, LogId, Name, Nonce, StoreId, Ticket, TxnId, Xid};
use handfast_common::messages::{
    Addressee, Begin, BranchWork, Commit, Enlist, Execute, FromParticipant, Identity, Inquiry, InquiryAnswer, Mark,
    Micros, OperationId, Order, PeerAnswer, PeerInquiry, PeerTold, Register, Stamp, Submit, ToParticipant,
};
use handfast_common::outcome::{Decision, Payload};
use handfast_coordinator::protocol as c;
use handfast_participant::protocol as p;
use uuid::Uuid;

use super::coordinator::Asker;
use super::{LOG, World};
use crate::clients::content_hash;
use crate::matrix::{Kind, Step};
use crate::plan::Host;

impl World {
    pub(super) fn hostile(&mut self, host: Host) {
        match host {
            Host::Coordinator if self.coordinator.is_ready() => self.hostile_to_coordinator(),
            Host::Participant(n) if self.participants[n].is_up() => self.hostile_to_participant(n),
            Host::Coordinator | Host::Participant(_) | Host::Clients => {}
        }
    }

    fn hostile_to_coordinator(&mut self) {
        self.summary.injected += 1;
        self.hit(Step::Lib1, Kind::Hostile);
        let xid = self.forged(LOG);
        let ticket = Ticket { log: LogId(xid.txn.0), epoch: Epoch(1), nonce: xid.nonce, sequence: u64::MAX };
        let key = Key(Uuid::from_u128(u128::from(self.dice.number()) | 1 << 100));
        let begin = Begin { key, ticket, age: Some(Age(u64::MAX)), clock: Age(0), total: Micros(u64::MAX) };
        self.decode::<Begin>(&begin);
        let stranger = self.stranger_called("stranger");
        let enlist = Enlist { from: stranger.clone(), xid, active: true };
        self.decode::<Enlist>(&enlist);
        let commit = Commit { xid, counts: Vec::new(), shared: true, wait: Micros(u64::MAX) };
        self.decode::<Commit>(&commit);
        let inquiry = Inquiry { from: stranger, xid, members: Vec::new() };
        self.decode::<Inquiry>(&inquiry);
        self.decode::<Register>(&inquiry);
        // A ticket of our own, and work that no participant can read.
        let own = self.coordinator.machine.as_ref().map(|machine| {
            let (log, epoch, nonce, sequence) = machine.standing();
            Ticket { log, epoch, nonce, sequence }
        });
        let garbage = (0..64).map(|_| self.dice.number().to_le_bytes()[0]).collect();
        let work = BranchWork { participant: self.participants[0].name(), work: Payload(garbage) };
        let wait = Micros(1_000_000);
        let submit =
            Submit { key, ticket: own.unwrap_or(ticket), age: None, clock: Age(0), wait, branches: vec![work] };
        self.decode::<Submit>(&submit);
        let reply = |world: &mut Self| world.coordinator.expect(Asker::Nobody);
        let input = c::Input::BeginRequested { reply: reply(self), begin };
        self.coordinate(input);
        let input = c::Input::BranchEnlisted { reply: reply(self), enlist };
        self.coordinate(input);
        let input = c::Input::CommitRequested { reply: reply(self), commit };
        self.coordinate(input);
        let input = c::Input::RollbackRequested { reply: reply(self), xid };
        self.coordinate(input);
        let input = c::Input::DecisionInquired { reply: reply(self), inquiry };
        self.coordinate(input);
        let hash = content_hash(&submit);
        let input = c::Input::TransactionSubmitted { reply: reply(self), request: submit, hash };
        self.coordinate(input);
    }

    fn hostile_to_participant(&mut self, n: usize) {
        self.summary.injected += 1;
        self.hit(Step::Kv8, Kind::Hostile);
        let nobody = |world: &mut Self| world.participants[n].expect(super::participant::Waiter::Nobody);
        let forged = self.forged(LOG);
        let foreign = self.forged(LogId(forged.txn.0));
        let Some(own) = self.participants[n].identity() else { return };
        self.decode::<InquiryAnswer>(&InquiryAnswer::Decided(Decision::Commit));
        // An answer that was not asked for, about what there is not.
        let decided = InquiryAnswer::Decided(Decision::Commit);
        self.participate(n, p::Input::InquiryAnswered { xid: forged, answer: decided });
        // Decisions about what is in doubt here, from strangers, one of them under a name of ours.
        let machine = self.participants[n].machine.as_ref();
        let doubts: Vec<Xid> =
            machine.into_iter().flat_map(|machine| machine.branches()).map(|branch| branch.xid).collect();
        for (xid, name) in doubts.into_iter().chain([forged]).flat_map(|xid| [(xid, "stranger"), (xid, "p0")]) {
            let from = self.stranger_called(name);
            let told = PeerTold { from: from.clone(), answer: PeerAnswer::Decided(Decision::Commit) };
            self.decode::<PeerTold>(&told);
            self.participate(n, p::Input::PeerAnswered { xid, from, answer: told.answer });
        }
        let to = Addressee { name: own.name.clone(), store: own.store, incarnation: Incarnation(self.dice.number()) };
        let inquiry = PeerInquiry { from: self.stranger_called("stranger"), to: to.clone(), xid: forged };
        self.decode::<PeerInquiry>(&inquiry);
        let input = p::Input::PeerInquired { reply: nobody(self), inquiry };
        self.participate(n, input);
        // A coordinator that never said Hello.
        let mark = Mark { low: foreign.txn, except: Vec::new() };
        let from = Stamp { log: foreign.log, epoch: Epoch(1), nonce: foreign.nonce, decisions: 0, mark, clock: Age(0) };
        let order = Order::Decide { to, xid: foreign, decision: Decision::Commit };
        let message = ToParticipant { from, order };
        self.decode::<ToParticipant>(&message);
        self.decode::<FromParticipant>(&message);
        let input = p::Input::OrderReceived { reply: nobody(self), message };
        self.participate(n, input);
        let garbage = (0..64).map(|_| self.dice.number().to_le_bytes()[0]).collect();
        let execute = Execute {
            to: own.name,
            xid: foreign,
            coordinator: "nowhere".to_owned(),
            operation: OperationId { caller: 9, number: 1 },
            wait: Micros(1_000),
            clock: Age(0),
            work: Payload(garbage),
        };
        self.decode::<Execute>(&execute);
        let input = p::Input::OperationReceived { reply: nobody(self), execute };
        self.participate(n, input);
    }

    /// Damages a message in many ways, and makes some up: whatever is read of it, reading must end, and in no panic.
    fn decode<T: serde::de::DeserializeOwned>(&mut self, message: &impl serde::Serialize) {
        let bytes = codec::encode(message).expect("a message can be encoded");
        for _ in 0..32 {
            let mut changed = bytes.clone();
            let at = self.dice.index(changed.len());
            changed[at] ^= 1 << self.dice.below(8);
            changed.truncate(bytes.len() - if self.dice.one_in(4) { self.dice.index(bytes.len()) } else { 0 });
            drop(codec::decode::<T>(&changed));
            let made_up: Vec<u8> = changed.iter().map(|_| self.dice.number().to_le_bytes()[0]).collect();
            drop(codec::decode::<T>(&made_up));
        }
    }

    /// A transaction that never was, of a start that never was.
    fn forged(&mut self, log: LogId) -> Xid {
        let nonce = Nonce(self.dice.number());
        Xid { log, txn: TxnId::new(log, Epoch(1), self.dice.below(1 << 40), nonce), nonce }
    }

    fn stranger_called(&mut self, name: &str) -> Identity {
        let (store, incarnation) = (StoreId(Uuid::from_u128(0xBAD)), Incarnation(self.dice.number()));
        Identity { name: Name::new(name).expect("a plain name"), store, incarnation, sequence: 0, clock: Age(0) }
    }
}
