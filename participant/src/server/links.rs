//! Links to coordinators: registering, and asking about branches in doubt.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::sync::mpsc::UnboundedSender;

use handfast_common::ids::{LogId, Xid};
use handfast_common::messages::{Enlist, Inquiry, Register};
use handfast_common::rpc::service::{CoordinatorServiceRequest as Request, CoordinatorServiceResponse};
use handfast_common::rpc::{Hello, Peer, PeerEvent, Role, Versions};

use super::owner::Event;
use crate::protocol::Config;

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
}

/// All links, by address.
pub(super) struct Links {
    hello: Hello,
    inbox: UnboundedSender<Event>,
    links: BTreeMap<String, Link>,
}

impl Links {
    pub(super) fn new(config: &Config, inbox: UnboundedSender<Event>) -> Self {
        let hello = Hello {
            versions: Versions::OWN,
            role: Role::Participant,
            identity: config.store.0,
            epoch: 0,
            nonce: config.incarnation.0,
            sequence: 0,
            name: Some(config.name.clone()),
        };
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
        self.links.insert(address.to_owned(), Link { peer, registers, log: None });
    }

    /// Takes note of a connection; whether to register over it.
    pub(super) fn connected(&mut self, address: &str, log: LogId) -> bool {
        self.links.get_mut(address).is_some_and(|link| {
            link.log = Some(log);
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
    /// With no connection the question is lost, and asked again later.
    pub(super) fn inquire(&mut self, xid: Xid, hint: &str, inquiry: Inquiry) {
        self.call(xid, hint, Call::Inquire(xid), Request::Inquire { inquiry });
    }

    /// Enlists at the coordinator whose log it is, on the same terms.
    pub(super) fn enlist(&mut self, xid: Xid, hint: &str, enlist: Enlist) {
        self.call(xid, hint, Call::Enlist(xid), Request::Enlist { enlist });
    }

    fn call(&mut self, xid: Xid, hint: &str, call: Call, request: Request) {
        let connected = self.links.values().find(|link| link.log == Some(xid.log));
        if let Some(link) = connected {
            link.peer.send(call, request, CALL_TIMEOUT);
        } else {
            self.keep(hint, false);
        }
    }
}
