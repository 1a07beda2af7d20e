//! Working in a transaction that somebody else began.

use std::ops::Deref;
use std::sync::Arc;

use handfast_common::locks::{Lock, Mutex};
use handfast_common::messages::Told;
use handfast_common::outcome::{Outcome, Reason, ReasonKind};

use super::error::DoomError;
use super::progress::Progress;
use super::work::{Inner, Work};
use crate::client::Client;
use crate::context::Context;
use crate::error::NoCoordinator;

/// A transaction that somebody else began, for working in it: what can be done is [`Work`]'s.
///
/// It can't be committed from here, and dropping it does nothing. A service says how its part went by its answer to
/// whoever called it; that one decides. An answer given before an operation here is answered promises too much.
#[derive(Debug)]
pub struct Joined {
    work: Work,
}

impl Client {
    /// Joins the transaction of a context that came with a call. Nothing is sent yet.
    ///
    /// Its coordinator need not be one of this client's.
    #[must_use]
    pub fn join(&self, context: &Context) -> Joined {
        let address = context.coordinator().to_owned();
        let coordinator =
            if self.links.lists(&address) { Arc::clone(&self.links) } else { self.network.coordinator(&address) };
        let progress = Progress::default();
        let inner = Inner {
            client: self.clone(),
            coordinator,
            address,
            xid: context.xid(),
            caller: rand::random(),
            deadline: context.deadline(),
            trace: context.trace().map(str::to_owned),
            progress: Mutex::new(Lock::Progress, progress),
        };
        Joined { work: Work { inner: Arc::new(inner) } }
    }
}

impl Joined {
    /// Aborts the transaction, for all who work in it. Once polled, the coordinator is told even if this future is
    /// dropped.
    ///
    /// # Errors
    /// See [`DoomError`]: then the answer to the caller must see to it that it does not commit.
    pub async fn doom(&self) -> Result<(), DoomError> {
        let inner = Arc::clone(&self.work.inner);
        inner.progress.lock().doom(Reason::new(ReasonKind::RolledBack, "by a service that took part"));
        let telling = tokio::spawn(async move { inner.roll_back().await });
        match telling.await {
            Ok(Ok(Told::Outcome { outcome: Outcome::Aborted(_), .. })) => Ok(()),
            Ok(Ok(told)) => Err(DoomError::TooLate(Box::new(told))),
            Ok(Err(why)) => Err(DoomError::NoAnswer(why)),
            Err(error) => Err(DoomError::NoAnswer(NoCoordinator::because(error.to_string()))),
        }
    }
}

impl Deref for Joined {
    type Target = Work;

    fn deref(&self) -> &Work {
        &self.work
    }
}
