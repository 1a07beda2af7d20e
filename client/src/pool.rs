//! Connections to addresses that become known one by one: opened when first needed, one for each address, closed when
//! nobody has needed them for a while.

use std::collections::BTreeMap;
use std::sync::{Arc, Weak};
use std::time::Duration;

use handfast_common::locks::{Lock, Mutex};
use handfast_common::rpc::Role;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tarpc::RequestName;
use tokio::runtime::Handle;
use tokio::time::{Instant, sleep};

use crate::links::Links;

/// The ways to many processes of one role.
#[derive(Debug)]
pub(crate) struct Pool<Req, Resp> {
    role: Role,
    caps: PoolCaps,
    state: Arc<Mutex<State<Req, Resp>>>,
}

/// How much a pool keeps.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PoolCaps {
    /// Most addresses. The one not needed for longest goes; its calls under way keep their connection.
    pub(crate) most: usize,
    /// How long one is kept that nobody needs.
    pub(crate) idle: Duration,
}

#[derive(Debug)]
struct State<Req, Resp> {
    ways: BTreeMap<String, Way<Req, Resp>>,
    /// Whether a task closes what is idle. It ends with the last way.
    is_swept: bool,
}

#[derive(Debug)]
struct Way<Req, Resp> {
    links: Arc<Links<Req, Resp>>,
    needed: Instant,
}

impl PoolCaps {
    /// One file handle for each: far below the 1,024 that a process has by default.
    pub(crate) const DEFAULTS: Self = Self { most: 256, idle: Duration::from_secs(60) };
}

impl<Req, Resp> Pool<Req, Resp>
where
    Req: RequestName + Serialize + Send + 'static,
    Resp: DeserializeOwned + Send + 'static,
{
    pub(crate) fn new(role: Role, caps: PoolCaps) -> Self {
        Self { role, caps, state: Arc::new(Mutex::new(Lock::Pool, State { ways: BTreeMap::new(), is_swept: false })) }
    }

    /// The way to an address. Nothing is dialled yet.
    pub(crate) fn way(&self, address: &str) -> Arc<Links<Req, Resp>> {
        let mut state = self.state.lock();
        let needed = Instant::now();
        if let Some(way) = state.ways.get_mut(address) {
            way.needed = needed;
            return Arc::clone(&way.links);
        }
        while state.ways.len() >= self.caps.most {
            let oldest = state.ways.iter().min_by_key(|(_, way)| way.needed).map(|(address, _)| address.clone());
            oldest.and_then(|oldest| state.ways.remove(&oldest));
        }
        let links = Arc::new(Links::new(vec![address.to_owned()], self.role));
        state.ways.insert(address.to_owned(), Way { links: Arc::clone(&links), needed });
        // Outside of a runtime nothing can be dialled either: the first call within one will see to it.
        let runtime = Handle::try_current().ok().filter(|_| !std::mem::replace(&mut state.is_swept, true));
        // A runtime that is ending drops what it is given at once, and what is dropped here takes the lock.
        drop(state);
        if let Some(runtime) = runtime {
            runtime.spawn(Sweeping { state: Arc::downgrade(&self.state), idle: self.caps.idle }.run());
        }
        links
    }

    #[cfg(test)]
    fn addresses(&self) -> Vec<String> {
        self.state.lock().ways.keys().cloned().collect()
    }
}

/// Closes what is idle. Does not keep the pool: when that goes, all its connections go at once.
struct Sweeping<Req, Resp> {
    state: Weak<Mutex<State<Req, Resp>>>,
    idle: Duration,
}

impl<Req, Resp> Sweeping<Req, Resp> {
    async fn run(self) {
        loop {
            sleep(self.idle / 2).await;
            let Some(state) = self.state.upgrade() else { return };
            let mut state = state.lock();
            state.ways.retain(|_, way| way.needed.elapsed() < self.idle);
            if state.ways.is_empty() {
                state.is_swept = false;
                return;
            }
        }
    }
}

/// Also when the runtime ends under it: the next runtime's calls start another one.
impl<Req, Resp> Drop for Sweeping<Req, Resp> {
    fn drop(&mut self) {
        if let Some(state) = self.state.upgrade() {
            state.lock().is_swept = false;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use handfast_common::rpc::service::{ParticipantServiceRequest as Request, ParticipantServiceResponse as Response};

    fn pool(most: usize, idle: u64) -> Pool<Request, Response> {
        Pool::new(Role::Participant, PoolCaps { most, idle: Duration::from_millis(idle) })
    }

    #[tokio::test]
    async fn one_way_for_each_address_and_the_one_not_needed_for_longest_goes_first() {
        let pool = pool(2, 60_000);
        let first = pool.way("a:1");
        pool.way("b:1");
        assert!(Arc::ptr_eq(&first, &pool.way("a:1")));
        pool.way("c:1");
        assert_eq!(pool.addresses(), ["a:1", "c:1"]);
    }

    #[tokio::test]
    async fn what_nobody_needs_is_closed_and_a_later_need_opens_it_again() {
        let pool = pool(9, 40);
        for _ in 0..2 {
            pool.way("a:1");
            tokio::time::timeout(Duration::from_secs(5), async {
                while !pool.addresses().is_empty() {
                    sleep(Duration::from_millis(5)).await;
                }
            })
            .await
            .expect("it is closed when idle");
        }
    }

    #[test]
    fn a_runtime_that_has_ended_holds_nobody_up() {
        let (tell, told) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            let handle = runtime.handle().clone();
            drop(runtime);
            // It drops at once what is spawned on it, the task that closes what is idle as well.
            let _inside = handle.enter();
            let pool = pool(2, 60_000);
            pool.way("a:1");
            tell.send(pool.addresses())
        });
        assert_eq!(told.recv_timeout(Duration::from_secs(10)).expect("a way without waiting"), ["a:1"]);
    }
}
