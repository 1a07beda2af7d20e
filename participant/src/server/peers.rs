//! Links to other participants: asking them about a branch in doubt.
//!
//! A link is dialled when there is a question for it, carries questions while it is used, and goes when it is not. A
//! question that can't be asked is lost and no more: unreachable is no answer, and the machine asks again.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::sync::mpsc::UnboundedSender;
use tokio::time::Instant;

use handfast_common::ids::Xid;
use handfast_common::messages::{PeerInquiry, PeerTold};
use handfast_common::rpc::service::{ParticipantServiceRequest as Request, ParticipantServiceResponse as Response};
use handfast_common::rpc::{Hello, Peer, PeerEvent, Role};

use super::owner::Event;

/// A question unanswered for this long means a connection that has lost something, or a peer that stands still.
const CALL_TIMEOUT: Duration = Duration::from_secs(2);
/// Most links: as many as one transaction has branches.
const MAX_LINKS: usize = handfast_common::limits::MAX_BRANCHES;
/// Most questions of one link at a time: beyond it they are lost, and asked again.
const MAX_QUESTIONS: usize = 1_024;
/// A link that nothing was asked over for this long goes.
const IDLE: Duration = Duration::from_secs(10);
/// With all links in use, one that nothing was asked over for this long makes room.
const SPARE: Duration = Duration::from_secs(1);

/// What a peer's link tells.
pub(super) type Told = PeerEvent<Xid, Response>;

struct Link {
    peer: Peer<Xid, Request>,
    connected: bool,
    /// When something was last asked.
    used: Instant,
    /// What is to be asked, until there is a connection; then what was asked and is not answered. One for each
    /// transaction: a peer that does not answer gets no pile of questions.
    open: BTreeMap<Xid, Option<PeerInquiry>>,
}

/// All links, by address.
pub(super) struct Peers {
    hello: Hello,
    inbox: UnboundedSender<Event>,
    links: BTreeMap<String, Link>,
}

impl Peers {
    pub(super) fn new(hello: Hello, inbox: UnboundedSender<Event>) -> Self {
        Self { hello, inbox, links: BTreeMap::new() }
    }

    /// Asks the participant at `address`, as soon as there is a connection.
    pub(super) fn inquire(&mut self, address: &str, inquiry: PeerInquiry) {
        let now = Instant::now();
        if address.is_empty() || !self.reach(address, now) {
            return;
        }
        let Some(link) = self.links.get_mut(address) else { return };
        link.used = now;
        let xid = inquiry.xid;
        if link.open.contains_key(&xid) || link.open.len() >= MAX_QUESTIONS {
            return;
        }
        link.open.insert(xid, Some(inquiry));
        if link.connected {
            link.ask();
        }
    }

    /// Takes note of what a link tells; an answer, if it was one.
    pub(super) fn on_event(&mut self, address: &str, event: Told) -> Option<(Xid, PeerTold)> {
        let link = self.links.get_mut(address)?;
        match event {
            Told::Connected { hello } if hello.role == Role::Participant => {
                link.connected = true;
                link.ask();
            }
            Told::Connected { hello } => {
                tracing::warn!(address, role = ?hello.role, "no participant answers there");
                self.links.remove(address);
            }
            Told::Disconnected { why } => {
                tracing::debug!(address, why, "connection to another participant lost");
                link.connected = false;
                link.open.clear();
            }
            Told::Unreachable { why } => {
                tracing::info!(address, %why, "another participant is not reachable");
                link.open.clear();
            }
            Told::Answered { tag: xid, response } => {
                link.open.remove(&xid);
                if let Response::AskPeer(told) = response {
                    return Some((xid, told));
                }
                tracing::warn!(address, "an answer to another question");
            }
            Told::Failed { tag: xid, .. } => drop(link.open.remove(&xid)),
        }
        None
    }

    /// Lets go of links that are not used any more.
    pub(super) fn tidy(&mut self) {
        let now = Instant::now();
        self.links.retain(|_, link| now.duration_since(link.used) < IDLE);
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.links.len()
    }

    /// Makes sure of a link, if there is room for it.
    fn reach(&mut self, address: &str, now: Instant) -> bool {
        if self.links.contains_key(address) {
            return true;
        }
        if self.links.len() >= MAX_LINKS {
            let oldest = self.links.iter().min_by_key(|(_, link)| link.used);
            let Some(spare) = oldest.filter(|(_, link)| now.duration_since(link.used) >= SPARE) else { return false };
            let spare = spare.0.clone();
            self.links.remove(&spare);
        }
        let (hello, inbox, of_events) = (self.hello.clone(), self.inbox.clone(), address.to_owned());
        let peer = Peer::spawn(
            address,
            move || hello.clone(),
            move |event| {
                // The owner is gone only when the process ends.
                let _ = inbox.send(Event::Peer { address: of_events.clone(), event });
            },
        );
        self.links.insert(address.to_owned(), Link { peer, connected: false, used: now, open: BTreeMap::new() });
        true
    }
}

impl Link {
    /// Sends what has not been sent yet.
    fn ask(&mut self) {
        for (xid, inquiry) in &mut self.open {
            if let Some(inquiry) = inquiry.take() {
                self.peer.send(*xid, Request::AskPeer { inquiry }, CALL_TIMEOUT);
            }
        }
    }
}
