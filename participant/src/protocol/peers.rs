//! Questions and answers between participants: who is meant, and who is believed.

use handfast_common::ids::Xid;
use handfast_common::messages::{Identity, PeerAnswer, PeerInquiry, Unsaid};
use handfast_common::outcome::Decision;

use super::branch::State;
use super::error::Illegal;
use super::event::{Event, PeerQuestion};
use super::{Effect, Effects, Participant, ReplyTo};

impl Participant {
    /// Addresses move: whoever took over that of the participant that is meant has no trace of the transaction, and that
    /// proves nothing (t02b, t02c).
    pub(super) fn on_peer_inquired(
        &mut self,
        reply: ReplyTo,
        inquiry: PeerInquiry,
        out: &mut Effects,
    ) -> Result<(), Illegal> {
        let PeerInquiry { from, to, xid } = inquiry;
        if to.name != self.config.name || to.store != self.config.store {
            out.push(Effect::ReplyPeer { to: reply, answer: PeerAnswer::CantSay(Unsaid::NotMe) });
            return Ok(());
        }
        self.hear_clock(from.clock);
        let exact = to.incarnation == self.config.incarnation;
        let question = PeerQuestion { reply, exact, greeted: self.was_greeted(xid) };
        self.feed(xid, Event::PeerInquired(question), out)
    }

    /// Believed only by a branch in doubt, and only from one that its record names, by name and store; its start is not
    /// compared, for a decision outlives it. A decision is then as good as the coordinator's.
    pub(super) fn on_peer_answered(
        &mut self,
        xid: Xid,
        from: &Identity,
        answer: PeerAnswer,
        out: &mut Effects,
    ) -> Result<(), Illegal> {
        let Some(State::Prepared(branch)) = self.branches.get(&xid) else { return Ok(()) };
        let mut others = branch.record.members.iter().filter(|member| member.who.name != self.config.name);
        if !others.any(|member| member.who.name == from.name && member.who.store == from.store) {
            return Ok(());
        }
        self.hear_clock(from.clock);
        match answer {
            PeerAnswer::Decided(Decision::Commit) => self.feed(xid, Event::Commit(None), out),
            PeerAnswer::Decided(Decision::Abort) => self.feed(xid, Event::Abort(None), out),
            PeerAnswer::CantSay(unsaid) => self.feed(xid, Event::PeerCantSay(from.name.clone(), unsaid), out),
        }
    }
}
