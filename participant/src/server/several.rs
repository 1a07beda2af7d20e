//! Several participants in one process.

use std::cell::RefCell;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;

use futures::stream::FuturesUnordered;
use futures::{FutureExt, StreamExt};

use super::{Options, Ready, ServeError, Start, serve};
use crate::resource::{ParticipantLog, ResourceManager};
use handfast_common::storage::StorageError;

/// Participants that run side by side on one runtime: each with a name, a folder and a port of its own, and with a
/// resource manager of its own kind. To a coordinator they are as strange to each other as on two machines.
#[derive(Default)]
pub struct Participants(Vec<Begin>);

type Serving = Pin<Box<dyn Future<Output = Result<(), ServeError>>>>;
type Begin = Box<dyn FnOnce(Box<dyn FnOnce(Ready)>, Serving) -> Serving>;

impl Participants {
    /// None yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// One more; `open` as for [`serve`].
    #[must_use]
    pub fn with<R: ResourceManager + ParticipantLog>(
        mut self,
        options: Options,
        open: impl AsyncFnOnce(Start) -> Result<R, StorageError> + 'static,
    ) -> Self {
        self.0.push(Box::new(move |ready, shutdown| Box::pin(serve(options, open, ready, shutdown.map(|_| ())))));
        self
    }

    /// Runs all of them until `shutdown` completes. `ready` is told of each by name, in whatever order they are.
    ///
    /// # Errors
    /// The first of any of them; the others end with it, for it means that the process should end. See [`ServeError`].
    pub async fn run(
        self,
        ready: impl FnMut(Ready) + 'static,
        shutdown: impl Future<Output = ()> + 'static,
    ) -> Result<(), ServeError> {
        let ready = Rc::new(RefCell::new(ready));
        let shutdown = shutdown.boxed_local().shared();
        let begin = |begin: Begin| {
            let (ready, shutdown) = (Rc::clone(&ready), shutdown.clone());
            begin(Box::new(move |told| (ready.borrow_mut())(told)), Box::pin(shutdown.map(Ok)))
        };
        let mut running: FuturesUnordered<Serving> = self.0.into_iter().map(begin).collect();
        while let Some(ended) = running.next().await {
            ended?;
        }
        Ok(())
    }
}

impl std::fmt::Debug for Participants {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Participants").field(&self.0.len()).finish()
    }
}
