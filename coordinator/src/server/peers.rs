//! Connections to participants, one each, redialled for ever.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::sync::mpsc::UnboundedSender;

use handfast_common::ids::{Epoch, LogId, Name, Nonce};
use handfast_common::messages::ToParticipant;
use handfast_common::rpc::service::{ParticipantServiceRequest, ParticipantServiceResponse};
use handfast_common::rpc::{Hello, Peer, PeerEvent, Role, Versions};

use super::owner::Event;

/// A call unanswered for this long means a connection that has lost something: it is dropped, and with it go all calls
/// on it. Longer than a participant may wait for locks.
const CALL_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a participant that was hung up on is left alone: it has not become another one within milliseconds.
pub(super) const HANG_UP_PAUSE: Duration = Duration::from_millis(250);

/// The coordinator as it introduces itself on the wire.
#[derive(Clone, Debug)]
pub(super) struct Own {
    pub(super) log: LogId,
    pub(super) epoch: Epoch,
    pub(super) nonce: Nonce,
    pub(super) name: Name,
}

impl Own {
    pub(super) fn hello(&self, sequence: u64) -> Hello {
        Hello {
            versions: Versions::OWN,
            role: Role::Coordinator,
            identity: self.log.0,
            epoch: self.epoch.0,
            nonce: self.nonce.0,
            sequence,
            name: Some(self.name.clone()),
        }
    }
}

/// A call carries no tag: every answer names its transaction.
pub(super) type Told = PeerEvent<(), ParticipantServiceResponse>;

struct Connection {
    peer: Peer<(), ParticipantServiceRequest>,
    address: String,
    /// Tells the events of this handle from those of one that was dropped.
    generation: u64,
    connected: bool,
}

/// All connections to participants.
pub(super) struct Peers {
    own: Own,
    inbox: UnboundedSender<Event>,
    connections: BTreeMap<Name, Connection>,
    generations: u64,
}

/// What a peer's event means for the machine.
pub(super) enum Meaning {
    Connected,
    Disconnected,
    Answered(ParticipantServiceResponse),
    Nothing,
}

impl Peers {
    pub(super) fn new(own: Own, inbox: UnboundedSender<Event>) -> Self {
        Self { own, inbox, connections: BTreeMap::new(), generations: 0 }
    }

    /// Keeps a connection to `name` at `address`. True when one to another address stood and is gone now.
    pub(super) fn dial(&mut self, name: Name, address: String) -> bool {
        if let Some(connection) = self.connections.get(&name)
            && connection.address == address
        {
            return false;
        }
        self.generations += 1;
        let (generation, of_events) = (self.generations, name.clone());
        let (inbox, own) = (self.inbox.clone(), self.own.clone());
        let peer = Peer::spawn(
            address.clone(),
            move || own.hello(0),
            move |event: Told| {
                // The owner is gone only when the process ends.
                let _ = inbox.send(Event::Peer { name: of_events.clone(), generation, event });
            },
        );
        let connection = Connection { peer, address, generation, connected: false };
        self.connections.insert(name, connection).is_some_and(|old| old.connected)
    }

    /// Drops the connection; the address to dial again after a pause, if it was still the one dialled.
    pub(super) fn hang_up(&mut self, name: &Name) -> Option<String> {
        self.connections.remove(name).map(|connection| connection.address)
    }

    /// Whether anything is being dialled under this name.
    pub(super) fn is_dialled(&self, name: &Name) -> bool {
        self.connections.contains_key(name)
    }

    /// Sends; without a connection the message is lost, and the machine knows what to do about lost messages.
    pub(super) fn send(&self, to: &Name, message: ToParticipant) {
        if let Some(connection) = self.connections.get(to)
            && connection.connected
        {
            connection.peer.send((), ParticipantServiceRequest::Deliver { message }, CALL_TIMEOUT);
        }
    }

    /// What an event means; those of a connection that was given up mean nothing.
    pub(super) fn understand(&mut self, name: &Name, generation: u64, event: Told) -> Meaning {
        let Some(connection) = self.connections.get_mut(name).filter(|own| own.generation == generation) else {
            return Meaning::Nothing;
        };
        match event {
            PeerEvent::Connected { hello } => {
                connection.connected = true;
                tracing::debug!(%name, address = %connection.address, store = %hello.identity, "connected");
                Meaning::Connected
            }
            PeerEvent::Disconnected { why } => {
                connection.connected = false;
                tracing::info!(%name, why, "connection lost");
                Meaning::Disconnected
            }
            PeerEvent::Unreachable { why } => {
                tracing::info!(%name, address = %connection.address, %why, "not reachable");
                Meaning::Nothing
            }
            PeerEvent::Answered { response, .. } => Meaning::Answered(response),
            PeerEvent::Failed { why, .. } => {
                tracing::debug!(%name, %why, "a call failed");
                Meaning::Nothing
            }
        }
    }
}
