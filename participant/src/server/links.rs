//! Links to coordinators: registering, and asking about branches in doubt.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use tokio::sync::mpsc::UnboundedSender;

use handfast_common::ids::{LogId, Xid};
use handfast_common::messages::{Enlist, Inquiry, Register};
use handfast_common::rpc::service::{CoordinatorServiceRequest as Request, CoordinatorServiceResponse};
use handfast_common::rpc::{Hello, Peer, PeerEvent};

use super::owner::Event;

/// A call unanswered for this long means a connection that has lost something.
const CALL_TIMEOUT: Duration = Duration::from_secs(5);
/// Most links: those asked for on the command line and those that prepare records name.
const MAX_LINKS: usize = 256;

/// What a call to a coordinator was about.
#[derive(Clone, Copy, Debug)]
pub(super) enum Call {
    Register,
    Inquire(Xid),
    Enlist(Xid),
}

/// What a coordinator's link tells.
pub(super) type Told = PeerEvent<Call, CoordinatorServiceResponse>;

struct Link {
    peer: Peer<Call, Request>,
    /// Whether we register there, or only ask.
    registers: bool,
    /// The log at its other end, while connected.
    log: Option<LogId>,
    /// Whether the last attempt to connect failed.
    down: bool,
    /// The logs that were to be asked for here since there was a connection. Few: records name this address for them.
    asked: BTreeSet<LogId>,
}

/// All links, by address.
pub(super) struct Links {
    hello: Hello,
    inbox: UnboundedSender<Event>,
    links: BTreeMap<String, Link>,
}

impl Links {
    pub(super) fn new(hello: Hello, inbox: UnboundedSender<Event>) -> Self {
        Self { hello, inbox, links: BTreeMap::new() }
    }

    /// Keeps a link to `address`, redialled for ever.
    pub(super) fn keep(&mut self, address: &str, registers: bool) {
        if let Some(link) = self.links.get_mut(address) {
            link.registers |= registers;
            return;
        }
        if address.is_empty() || self.links.len() >= MAX_LINKS {
            return;
        }
        let (hello, inbox, of_events) = (self.hello.clone(), self.inbox.clone(), address.to_owned());
        let peer = Peer::spawn(
            address,
            move || hello.clone(),
            move |event| {
                // The owner is gone only when the process ends.
                let _ = inbox.send(Event::Link { address: of_events.clone(), event });
            },
        );
        self.links.insert(address.to_owned(), Link { peer, registers, log: None, down: false, asked: BTreeSet::new() });
    }

    /// Takes note of a connection; whether to register over it.
    pub(super) fn connected(&mut self, address: &str, log: LogId) -> bool {
        self.links.get_mut(address).is_some_and(|link| {
            link.log = Some(log);
            link.down = false;
            link.asked.clear();
            link.registers
        })
    }

    /// Takes note of a lost connection; whose it was.
    pub(super) fn disconnected(&mut self, address: &str) -> Option<LogId> {
        self.links.get_mut(address).and_then(|link| link.log.take())
    }

    /// The log at the other end of a link that is connected.
    pub(super) fn log_at(&self, address: &str) -> Option<LogId> {
        self.links.get(address).and_then(|link| link.log)
    }

    /// Takes note that nobody answers at an address: whose loss that is, where it was not noticed before.
    pub(super) fn unreachable(&mut self, address: &str) -> Vec<LogId> {
        let Some(link) = self.links.get_mut(address) else { return Vec::new() };
        let before = std::mem::replace(&mut link.down, true);
        if before { Vec::new() } else { link.asked.iter().copied().collect() }
    }

    pub(super) fn register(&self, address: &str, register: Register) {
        if let Some(link) = self.links.get(address) {
            link.peer.send(Call::Register, Request::Register { participant: register }, CALL_TIMEOUT);
        }
    }

    /// Every coordinator that is to know of us and is connected.
    pub(super) fn registering(&self) -> Vec<String> {
        let known = self.links.iter().filter(|(_, link)| link.registers && link.log.is_some());
        known.map(|(address, _)| address.clone()).collect()
    }

    /// Asks the coordinator whose log it is, wherever it is connected from; else at the address of the prepare record.
    /// With no connection the question is lost, and asked again later. Says so, once, if it is known by now that nobody
    /// is there: after a restart there was no connection whose end would tell.
    pub(super) fn inquire(&mut self, xid: Xid, hint: &str, inquiry: Inquiry) -> bool {
        if self.call(xid, hint, Call::Inquire(xid), Request::Inquire { inquiry }) {
            return false;
        }
        let link = self.links.get_mut(hint).filter(|link| link.asked.len() < MAX_LINKS);
        link.is_some_and(|link| link.asked.insert(xid.log) && link.down)
    }

    /// Enlists at the coordinator whose log it is, on the same terms.
    pub(super) fn enlist(&mut self, xid: Xid, hint: &str, enlist: Enlist) {
        self.call(xid, hint, Call::Enlist(xid), Request::Enlist { enlist });
    }

    /// Whether there was a connection to call over.
    fn call(&mut self, xid: Xid, hint: &str, call: Call, request: Request) -> bool {
        let Some(link) = self.links.values().find(|link| link.log == Some(xid.log)) else {
            self.keep(hint, false);
            return false;
        };
        link.peer.send(call, request, CALL_TIMEOUT);
        true
    }
}
