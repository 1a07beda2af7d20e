//! Connections to the addresses given: dialled when needed, redialled with backoff, shared by all calls.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use handfast_common::ids::{Epoch, LogId, Nonce, Ticket, TxnId};
use handfast_common::locks::{Lock, Mutex, MutexGuard};
use handfast_common::rpc::{Connection, DialError, HandshakeError, Hello, Role};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tarpc::RequestName;
use tokio::time::{Instant, sleep_until, timeout_at};

use crate::balance::{Balance, Balancer, Load, UnderWay};
use crate::error::{NoCoordinator, Obstacle, Unreached};
use crate::retry::jittered;

/// Several ways to the same service.
#[derive(Debug)]
pub(crate) struct Links<Req, Resp> {
    links: Vec<Arc<Link<Req, Resp>>>,
    balancer: Balancer,
}

/// One address.
#[derive(Debug)]
struct Link<Req, Resp> {
    address: String,
    role: Role,
    live: Mutex<Option<Arc<Live<Req, Resp>>>>,
    /// Held while dialling: one dials, the others wait for what comes of it.
    dialling: tokio::sync::Mutex<Pace>,
    attempts: AtomicU64,
    failure: Mutex<Option<Unreached>>,
    /// Whether a task of its own dials.
    reviving: AtomicBool,
    load: Load,
}

/// When to dial next.
#[derive(Debug)]
struct Pace {
    not_before: Option<Instant>,
    pause: Duration,
}

/// A connection and who answers on it.
#[derive(Debug)]
pub(crate) struct Live<Req, Resp> {
    pub(crate) connection: Connection<Req, Resp>,
    address: String,
    hello: Hello,
    standing: Mutex<Standing>,
    load: Load,
}

/// The highest transaction sequence the coordinator is known to have given out, and when that was learned.
#[derive(Debug)]
struct Standing {
    sequence: u64,
    learned: Instant,
}

/// Longest wait for one connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// First pause between attempts to connect.
const FIRST_PAUSE: Duration = Duration::from_millis(20);
/// Longest one: a coordinator that comes back is found within a second.
const LONGEST_PAUSE: Duration = Duration::from_secs(1);
/// A standing older than this makes no new tickets: a key first sent with a ticket that the coordinator has trimmed
/// past meanwhile would be answered "forgotten". A new connection brings a new one.
const STANDING_KEEPS: Duration = Duration::from_secs(60);

impl<Req, Resp> Links<Req, Resp>
where
    Req: RequestName + Serialize + Send + 'static,
    Resp: DeserializeOwned + Send + 'static,
{
    /// Ways that are tried in the order given.
    pub(crate) fn new(addresses: Vec<String>, role: Role) -> Self {
        Self::balanced(addresses, role, Balance::InOrder)
    }

    /// Ways over which new keys are spread.
    pub(crate) fn balanced(addresses: Vec<String>, role: Role, balance: Balance) -> Self {
        let links = addresses.into_iter().map(|address| Arc::new(Link::new(address, role))).collect();
        Self { links, balancer: Balancer::new(balance) }
    }

    /// Whether this is one of the addresses.
    pub(crate) fn lists(&self, address: &str) -> bool {
        self.links.iter().any(|link| link.address == address)
    }

    /// A connection, to the coordinator with this log if one is named; the first in the order given that has one. Dials
    /// until `latest`, unless every address answers and none rightly.
    ///
    /// # Errors
    /// Why each address was of no use.
    pub(crate) async fn pick(
        &self,
        log: Option<LogId>,
        latest: Instant,
    ) -> Result<Arc<Live<Req, Resp>>, NoCoordinator> {
        self.pick_of(self.links.iter().collect(), log, latest).await
    }

    /// A connection to any of them, trying each once.
    ///
    /// # Errors
    /// Why each address was of no use.
    pub(crate) async fn try_once(&self, latest: Instant) -> Result<Arc<Live<Req, Resp>>, NoCoordinator> {
        let order: Vec<_> = self.links.iter().collect();
        self.round(&order, None, latest).await
    }

    async fn pick_of(
        &self,
        order: Vec<&Arc<Link<Req, Resp>>>,
        log: Option<LogId>,
        latest: Instant,
    ) -> Result<Arc<Live<Req, Resp>>, NoCoordinator> {
        loop {
            match self.round(&order, log, latest).await {
                Err(why) if !why.is_hopeless() && Instant::now() < latest => {}
                ended => return ended,
            }
        }
    }

    /// The first of these that has a connection; if none has, they are dialled one after the other.
    async fn round(
        &self,
        order: &[&Arc<Link<Req, Resp>>],
        log: Option<LogId>,
        latest: Instant,
    ) -> Result<Arc<Live<Req, Resp>>, NoCoordinator> {
        let fits = |live: &Live<Req, Resp>| log.is_none_or(|log| live.log() == log);
        let found = order.iter().position(|link| link.live().is_some_and(|live| fits(&live)));
        if let Some(live) = found.and_then(|at| order[at].live()) {
            // They would have been preferred: when they are back, they shall be.
            order.iter().take(found.unwrap_or(0)).for_each(|link| link.revive());
            return Ok(live);
        }
        let mut unreached = Vec::with_capacity(order.len());
        for link in order {
            match timeout_at(latest, link.get()).await {
                Ok(Ok(live)) if fits(&live) => return Ok(live),
                Ok(Ok(live)) => unreached.push(link.other_log(&live, log)),
                Ok(Err(why)) => unreached.push(why),
                Err(_) => unreached.push(link.no_time()),
            }
        }
        Err(NoCoordinator(unreached))
    }

    /// The same for a key that has no ticket yet: whichever is its turn.
    pub(crate) async fn pick_for_new_key(
        &self,
        log: Option<LogId>,
        latest: Instant,
    ) -> Result<Arc<Live<Req, Resp>>, NoCoordinator> {
        let order = self.balancer.order(self.links.len(), |place| self.links[place].load.count());
        loop {
            let order = order.iter().map(|place| &self.links[*place]).collect();
            let live = self.pick_of(order, log, latest).await?;
            if live.standing().learned.elapsed() < STANDING_KEEPS {
                return Ok(live);
            }
            self.forget(&live);
        }
    }

    /// Dials anew for the next call. Calls under way keep their connection.
    pub(crate) fn forget(&self, live: &Arc<Live<Req, Resp>>) {
        for link in &self.links {
            link.live.lock().take_if(|current| Arc::ptr_eq(current, live));
        }
    }
}

impl<Req, Resp> Link<Req, Resp>
where
    Req: RequestName + Serialize + Send + 'static,
    Resp: DeserializeOwned + Send + 'static,
{
    fn new(address: String, role: Role) -> Self {
        Self {
            address,
            role,
            live: Mutex::new(Lock::Live, None),
            dialling: tokio::sync::Mutex::new(Pace { not_before: None, pause: FIRST_PAUSE }),
            attempts: AtomicU64::new(0),
            failure: Mutex::new(Lock::Failure, None),
            reviving: AtomicBool::new(false),
            load: Load::default(),
        }
    }

    /// Dials in the background, once, if there is no connection. Its pauses are those of every dialling.
    fn revive(self: &Arc<Self>) {
        if self.live().is_none() && !self.reviving.swap(true, Ordering::Relaxed) {
            let reviving = Reviving(Arc::clone(self));
            tokio::spawn(async move { drop(reviving.0.get().await) });
        }
    }

    fn live(&self) -> Option<Arc<Live<Req, Resp>>> {
        self.live.lock().as_ref().filter(|live| !live.connection.is_closed()).map(Arc::clone)
    }

    /// The connection, dialled if there is none. Callers that come while one dials share what comes of it.
    async fn get(&self) -> Result<Arc<Live<Req, Resp>>, Unreached> {
        let before = self.attempts.load(Ordering::Relaxed);
        let mut pace = self.dialling.lock().await;
        if let Some(live) = self.live() {
            return Ok(live);
        }
        if self.attempts.load(Ordering::Relaxed) != before
            && let Some(failure) = self.failure.lock().clone()
        {
            return Err(failure);
        }
        if let Some(not_before) = pace.not_before {
            sleep_until(not_before).await;
        }
        let dialled = self.dial().await;
        self.attempts.fetch_add(1, Ordering::Relaxed);
        // Also after a success: one that takes connections and drops them must not be dialled without a pause.
        pace.not_before = Some(Instant::now() + jittered(pace.pause));
        match dialled {
            Ok(live) => {
                pace.pause = FIRST_PAUSE;
                *self.failure.lock() = None;
                *self.live.lock() = Some(Arc::clone(&live));
                Ok(live)
            }
            Err(failure) => {
                pace.pause = (pace.pause * 2).min(LONGEST_PAUSE);
                *self.failure.lock() = Some(failure.clone());
                Err(failure)
            }
        }
    }

    async fn dial(&self) -> Result<Arc<Live<Req, Resp>>, Unreached> {
        let (connection, hello) = Connection::connect(&self.address, &Hello::client(), CONNECT_TIMEOUT)
            .await
            .map_err(|error| self.unreached(obstacle_of(&error), error.to_string()))?;
        if hello.role != self.role {
            let why = format!("{}: a {} answers there, not a {}", self.address, hello.role, self.role);
            return Err(self.unreached(Obstacle::OtherRole, why));
        }
        tracing::debug!(address = self.address, peer = %hello, epoch = hello.epoch, "connected");
        let standing = Standing { sequence: hello.sequence, learned: Instant::now() };
        let address = self.address.clone();
        let (standing, load) = (Mutex::new(Lock::Standing, standing), self.load.clone());
        Ok(Arc::new(Live { connection, address, hello, standing, load }))
    }

    fn other_log(&self, live: &Live<Req, Resp>, wanted: Option<LogId>) -> Unreached {
        let wanted = wanted.map_or_else(String::new, |log| log.0.to_string());
        let found = live.log().0;
        let why = format!("{}: the coordinator there has the log {found}, the ticket names {wanted}", self.address);
        self.unreached(Obstacle::OtherLog, why)
    }

    /// The deadline came first: the last failure says more than that.
    fn no_time(&self) -> Unreached {
        let known = self.failure.lock().clone();
        known.unwrap_or_else(|| self.unreached(Obstacle::Down, format!("{}: no connection in time", self.address)))
    }

    fn unreached(&self, obstacle: Obstacle, why: String) -> Unreached {
        Unreached { address: self.address.clone(), obstacle, why }
    }
}

impl<Req, Resp> Live<Req, Resp> {
    pub(crate) fn address(&self) -> &str {
        &self.address
    }

    pub(crate) const fn log(&self) -> LogId {
        LogId(self.hello.identity)
    }

    /// Counts a transaction as under way at this coordinator.
    pub(crate) fn under_way(&self) -> UnderWay {
        self.load.begin()
    }

    /// A ticket for a key that is sent now for the first time. Its sequence may lag behind the coordinator's: then it
    /// only counts as forgotten a little earlier.
    pub(crate) fn ticket(&self) -> Ticket {
        let (epoch, nonce) = (Epoch(self.hello.epoch), Nonce(self.hello.nonce));
        Ticket { log: self.log(), epoch, nonce, sequence: self.standing().sequence }
    }

    /// Learns from the answer to a submit how far the coordinator has counted. Without it a connection that carried a
    /// million transactions would make tickets that are trimmed already.
    pub(crate) fn learn(&self, txn: TxnId) {
        let mut standing = self.standing();
        if txn.epoch().0 == self.hello.epoch && txn.sequence() > standing.sequence {
            *standing = Standing { sequence: txn.sequence(), learned: Instant::now() };
        }
    }

    fn standing(&self) -> MutexGuard<'_, Standing> {
        self.standing.lock()
    }
}

/// A task that dials; also when its runtime ends under it, the next one may.
struct Reviving<Req, Resp>(Arc<Link<Req, Resp>>);

impl<Req, Resp> Drop for Reviving<Req, Resp> {
    fn drop(&mut self) {
        self.0.reviving.store(false, Ordering::Relaxed);
    }
}

fn obstacle_of(error: &DialError) -> Obstacle {
    match error {
        DialError::Unreachable { .. } | DialError::Timeout { .. } => Obstacle::Down,
        DialError::Handshake { source, .. } => match source {
            HandshakeError::VersionMismatch { .. } => Obstacle::Version,
            HandshakeError::NotHandfast { .. } | HandshakeError::Malformed(_) => Obstacle::NotHandfast,
            HandshakeError::Refused(_) | HandshakeError::Closed | HandshakeError::Timeout => Obstacle::Down,
        },
    }
}
