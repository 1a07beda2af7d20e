//! Opening a transaction, in a task of its own: whoever wanted it may be gone before the answer.

use std::sync::Arc;
use std::time::Duration;

use handfast_common::ids::{Age, Key, Ticket};
use handfast_common::locks::{Lock, Mutex};
use handfast_common::messages::{Begin, Begun, Micros, Rejection, Told};
use handfast_common::rpc::MAX_CALL_TIMEOUT;
use handfast_common::rpc::service::{CoordinatorServiceRequest as Request, CoordinatorServiceResponse as Response};
use tokio::runtime::Handle;
use tokio::sync::oneshot;
use tokio::time::{Instant, timeout_at};
use uuid::Uuid;

use super::error::BeginError;
use super::progress::Progress;
use super::work::{Inner, Work};
use super::{Owner, Tx};
use crate::client::{Client, PROBE};
use crate::error::NoCoordinator;
use crate::links::Live;
use crate::retry::Backoff;
use crate::submitting::out_of_time;

/// Hands a begun transaction to whoever wants it. If nobody does any more, it is dropped on the way: rolled back.
type Wanted = oneshot::Sender<Result<Tx, BeginError>>;

/// How long the way back to a coordinator is looked for that may have begun it. Then another key, and another coordinator,
/// will do as well: what is open at the first one has no work, and ends by its idle limit.
const RESEND_WAIT: Duration = Duration::from_millis(500);

/// What became of one copy.
enum Sent {
    Answered(Begun),
    /// It may have been carried out. If it was, there is an open transaction without work.
    InDoubt(String),
    NotCarriedOut(String),
}

impl Client {
    /// Opens a transaction that may last for `deadline`, or for the coordinator's own limit if that is less.
    ///
    /// # Errors
    /// See [`BeginError`]. Nothing happened.
    pub async fn begin(&self, deadline: Duration) -> Result<Tx, BeginError> {
        self.begin_again(None, deadline).await
    }

    /// The same as an earlier attempt, if there was one, with the age it had: so that it does not start as the youngest
    /// again, and is the oldest one day.
    ///
    /// # Errors
    /// See [`BeginError`]. Nothing happened.
    pub async fn begin_again(&self, age: Option<Age>, deadline: Duration) -> Result<Tx, BeginError> {
        self.begin_until(age, Instant::now() + deadline.min(MAX_CALL_TIMEOUT)).await
    }

    /// The same, until a moment.
    pub(super) async fn begin_until(&self, age: Option<Age>, deadline: Instant) -> Result<Tx, BeginError> {
        let (wanted, opened) = oneshot::channel();
        let client = self.clone();
        tokio::spawn(async move {
            let tx = client.open(age, deadline, &wanted).await;
            drop(wanted.send(tx));
        });
        let gone = || Err(BeginError::Unreached(NoCoordinator::because("the runtime is shutting down")));
        opened.await.unwrap_or_else(|_| gone())
    }

    async fn open(&self, age: Option<Age>, deadline: Instant, wanted: &Wanted) -> Result<Tx, BeginError> {
        let begun = Instant::now();
        let mut backoff = Backoff::new();
        // A key that may be open already. It is sent again, so that what is open there is known and can be ended.
        let mut doubt: Option<(Key, Ticket)> = None;
        let mut rejected: Option<Rejection> = None;
        loop {
            if doubt.is_none() && wanted.is_closed() {
                return Err(BeginError::Unreached(NoCoordinator::because("nobody waits for it any more")));
            }
            let way = match doubt {
                Some((_, ticket)) => {
                    self.links.pick(Some(ticket.log), deadline.min(Instant::now() + RESEND_WAIT)).await
                }
                None => self.links.pick_for_new_key(None, deadline).await,
            };
            let live = match way {
                _ if Instant::now() >= deadline => {
                    return Err(rejected.map_or_else(
                        || BeginError::Unreached(way.err().unwrap_or_else(out_of_time)),
                        BeginError::Rejected,
                    ));
                }
                Ok(live) => live,
                Err(_) if doubt.take().is_some() => continue,
                Err(why) => return Err(BeginError::Unreached(why)),
            };
            let (key, ticket) = doubt.unwrap_or_else(|| (Key(Uuid::new_v4()), live.ticket()));
            let sent = Instant::now();
            let total = deadline.saturating_duration_since(sent);
            let request = Begin { key, ticket, age, clock: self.ages.clock(), total: Micros::from(total) };
            match send_begin(&live, request, deadline).await {
                Sent::Answered(Begun::Open { xid, age, total }) => {
                    live.learn(xid.txn);
                    self.ages.hear(age);
                    let inner = Inner {
                        client: self.clone(),
                        coordinator: Arc::clone(&self.links),
                        address: live.address().to_owned(),
                        xid,
                        caller: rand::random(),
                        deadline: deadline.min(sent + Duration::from(total).min(MAX_CALL_TIMEOUT)),
                        trace: None,
                        progress: Mutex::new(Lock::Progress, Progress::default()),
                    };
                    let (work, runtime) = (Work { inner: Arc::new(inner) }, Handle::current());
                    let owner = Owner { work, key, ticket, age, begun, runtime, _under_way: live.under_way() };
                    return Ok(Tx { owner: Arc::new(owner) });
                }
                Sent::Answered(Begun::Told(Told::Rejected(rejection))) => {
                    if !rejection.is_retryable() {
                        return Err(BeginError::Rejected(rejection));
                    }
                    doubt = None;
                    rejected = Some(rejection);
                }
                // The key is used up: its ticket was too old, its coordinator was restarted, its time was over.
                Sent::Answered(Begun::Told(Told::Outcome { age, .. })) => {
                    self.ages.hear(age);
                    self.links.forget(&live);
                    doubt = None;
                }
                Sent::Answered(Begun::Told(Told::Pending { .. })) => doubt = None,
                Sent::InDoubt(why) => {
                    tracing::debug!(why, "a begin is in doubt; sending it again");
                    doubt = Some((key, ticket));
                }
                Sent::NotCarriedOut(why) => tracing::debug!(why, "a begin was not sent"),
            }
            backoff.pause(deadline).await;
        }
    }
}

/// It is answered at once, so a silent connection is given up.
async fn send_begin(live: &Live<Request, Response>, begin: Begin, deadline: Instant) -> Sent {
    match timeout_at(deadline, live.connection.call(Request::Begin { begin }, PROBE)).await {
        Ok(Ok(Response::Begin(begun))) => Sent::Answered(begun),
        Ok(Ok(_)) => Sent::InDoubt("it answered another question".into()),
        Ok(Err(error)) if error.not_carried_out() => Sent::NotCarriedOut(error.to_string()),
        Ok(Err(error)) => Sent::InDoubt(error.to_string()),
        Err(_) => Sent::InDoubt("no answer in time".into()),
    }
}
