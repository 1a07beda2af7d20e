//! Where participants are, and the connections to them and to coordinators that others have named.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use handfast_common::ids::{LogId, Name};
use handfast_common::locks::{Lock, Mutex};
use handfast_common::messages::Located;
use handfast_common::rpc::Role;
use handfast_common::rpc::service::{
    CoordinatorServiceRequest as Request, CoordinatorServiceResponse as Response, ParticipantServiceRequest,
    ParticipantServiceResponse,
};
use tokio::time::Instant;

use crate::error::{Error, NoCoordinator};
use crate::links::{Links, Live};
use crate::pool::{Pool, PoolCaps};

/// A connection to a participant.
pub(crate) type ToParticipant = Arc<Live<ParticipantServiceRequest, ParticipantServiceResponse>>;
/// The ways to a coordinator.
pub(crate) type ToCoordinator = Arc<Links<Request, Response>>;

/// What a client knows of the processes around it, beside the coordinators it was told.
#[derive(Debug)]
pub(crate) struct Network {
    participants: Pool<ParticipantServiceRequest, ParticipantServiceResponse>,
    coordinators: Pool<Request, Response>,
    /// Where coordinators have said that participants are; by coordinator, because names are each one's own.
    places: Mutex<BTreeMap<(LogId, Name), String>>,
}

/// Why there is no way to a participant.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum NoWay {
    /// The coordinator does not know the name; a few that it knows.
    Unknown(Vec<Name>),
    /// The coordinator could not be asked, or nobody answers where the participant is said to be.
    Unreached(NoCoordinator),
}

/// Most places remembered; beyond it all are asked for anew.
const MAX_PLACES: usize = 4_096;

impl Default for Network {
    fn default() -> Self {
        Self {
            participants: Pool::new(Role::Participant, PoolCaps::DEFAULTS),
            coordinators: Pool::new(Role::Coordinator, PoolCaps::DEFAULTS),
            places: Mutex::new(Lock::Places, BTreeMap::new()),
        }
    }
}

impl Network {
    /// The way to a coordinator that is not one of the client's own.
    pub(crate) fn coordinator(&self, address: &str) -> ToCoordinator {
        self.coordinators.way(address)
    }

    /// A connection to a participant, asking the coordinator with this log where it is if that is not known.
    pub(crate) async fn participant(
        &self,
        coordinator: &Links<Request, Response>,
        log: LogId,
        name: &Name,
        latest: Instant,
    ) -> Result<ToParticipant, NoWay> {
        let known = self.places.lock().get(&(log, name.clone())).cloned();
        let address = match known {
            Some(address) => address,
            None => self.locate(coordinator, log, name, latest).await?,
        };
        // Once: it may have moved, and then the coordinator knows.
        self.participants.way(&address).try_once(latest).await.map_err(|why| {
            self.misplaced(log, name);
            NoWay::Unreached(why)
        })
    }

    /// The participant is not where it was said to be: ask again.
    pub(crate) fn misplaced(&self, log: LogId, name: &Name) {
        self.places.lock().remove(&(log, name.clone()));
    }

    /// Dials anew for the next call.
    pub(crate) fn forget(&self, live: &ToParticipant) {
        self.participants.way(live.address()).forget(live);
    }

    async fn locate(
        &self,
        coordinator: &Links<Request, Response>,
        log: LogId,
        name: &Name,
        latest: Instant,
    ) -> Result<String, NoWay> {
        let answer = |response| match response {
            Response::Locate(located) => Some(located),
            _ => None,
        };
        let request = || Request::Locate { name: name.clone() };
        let located = coordinator.read_of(Some(log), request, latest, answer).await;
        let Located { address, known } = located.map_err(|error| match error {
            Error::NoAnswer(why) => NoWay::Unreached(why),
            other => NoWay::Unreached(NoCoordinator::because(other.to_string())),
        })?;
        let address = address.ok_or(NoWay::Unknown(known))?;
        let mut places = self.places.lock();
        if places.len() >= MAX_PLACES {
            places.clear();
        }
        places.insert((log, name.clone()), address.clone());
        Ok(address)
    }
}

impl NoWay {
    /// Whether somebody answers there, and it is somebody else.
    pub(crate) fn is_hopeless(&self) -> bool {
        match self {
            Self::Unknown(_) => false,
            Self::Unreached(why) => why.is_hopeless(),
        }
    }
}

impl fmt::Display for NoWay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown(_) => f.write_str("the coordinator knows no participant of this name"),
            Self::Unreached(why) => why.fmt(f),
        }
    }
}
