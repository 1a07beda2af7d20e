//! A resource manager of one's own under the world: its futures are polled by hand, on the world's thread.
//!
//! There is no runtime below it. A store may await its own channels and locks, and [`Ground::turn`]; one that sleeps, spawns
//! or has a thread can't be driven, for whatever it does then does not follow from the seed.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use handfast_common::ids::{ContentHash, Key, StoreId, Xid};
use handfast_common::messages::{AskValues, ValuePage};
use handfast_common::outcome::Reason;
use handfast_common::storage::StorageError;
use handfast_participant::kv::engine::Ended;
use handfast_participant::protocol::{Line, Prepared, Recovered};
use handfast_participant::resource::{ParticipantLog, ResourceManager, Work};

use super::{Ground, SteppedStore, Stores};
use crate::disk::Trouble;
use crate::matrix::Step;

/// Stores of one's own: `open` is called at each start of a participant, with an empty disk at its first one.
///
/// ```text
/// run_over(seed, &choice, &|| Box::new(polled(async |ground| MyStore::open(ground))))
/// ```
pub fn polled<R, F>(open: F) -> PolledStores<F>
where
    R: ResourceManager + ParticipantLog,
    F: AsyncFnMut(Ground) -> Result<R, StorageError>,
{
    PolledStores { open }
}

/// See [`polled`].
pub struct PolledStores<F> {
    open: F,
}

impl<R, F> Stores for PolledStores<F>
where
    R: ResourceManager + ParticipantLog,
    F: AsyncFnMut(Ground) -> Result<R, StorageError>,
{
    fn open(&mut self, ground: Ground) -> Result<Box<dyn SteppedStore>, StorageError> {
        let opening = (self.open)(ground.clone());
        let store = block_on(opening, &ground)??;
        Ok(Box::new(Polled::new(store, ground)?))
    }
}

/// An open store, and all that it was asked for and has not answered.
pub struct Polled<R> {
    store: R,
    ground: Ground,
    background: Pin<Box<dyn Future<Output = ()>>>,
    doing: Vec<(Step, Doing)>,
    ended: Vec<Ended>,
    /// What has ended with a batch that is on disk, and of which nobody has heard.
    written: Vec<Ended>,
    forces: u64,
    woken: Arc<Woken>,
}

/// Something that was begun.
type Doing = Pin<Box<dyn Future<Output = Ended>>>;

/// More rounds than any store needs to come to rest.
const MOST_ROUNDS: usize = 10_000;

#[derive(Default)]
struct Woken(AtomicBool);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::Relaxed);
    }
}

impl<R: ResourceManager + ParticipantLog> Polled<R> {
    fn new(store: R, ground: Ground) -> Result<Self, StorageError> {
        let background: Pin<Box<dyn Future<Output = ()>>> = {
            let store = store.clone();
            Box::pin(async move { store.run().await })
        };
        let mut polled = Self {
            store,
            ground,
            background,
            doing: Vec::new(),
            ended: Vec::new(),
            written: Vec::new(),
            forces: 0,
            woken: Arc::default(),
        };
        polled.settle()?;
        Ok(polled)
    }

    /// Begins something, now: the order of calls is the order in which the store hears of them.
    fn start<F>(&mut self, step: Step, begin: impl FnOnce(R) -> F) -> Result<(), StorageError>
    where
        F: Future<Output = Ended> + 'static,
    {
        let waker = Waker::from(Arc::clone(&self.woken));
        let mut doing: Doing = Box::pin(begin(self.store.clone()));
        match doing.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(ended) => self.ended.push(ended),
            Poll::Pending => self.doing.push((step, doing)),
        }
        self.settle()
    }

    /// Polls everybody until nobody gets any further.
    fn settle(&mut self) -> Result<(), StorageError> {
        let waker = Waker::from(Arc::clone(&self.woken));
        let mut context = Context::from_waker(&waker);
        for _ in 0..MOST_ROUNDS {
            self.woken.0.store(false, Ordering::Relaxed);
            if self.background.as_mut().poll(&mut context).is_ready() {
                return Err(gone_wrong(&self.ground, "the background work has ended"));
            }
            let before = self.doing.len();
            let ended = &mut self.ended;
            self.doing.retain_mut(|(_, doing)| match doing.as_mut().poll(&mut context) {
                Poll::Ready(fact) => {
                    ended.push(fact);
                    false
                }
                Poll::Pending => true,
            });
            alive(&self.ground)?;
            if self.doing.len() == before && !self.woken.0.load(Ordering::Relaxed) {
                return Ok(());
            }
        }
        Err(gone_wrong(&self.ground, "it is never at rest"))
    }
}

/// Whether the process goes on: it is gone where its disk says so, whatever the store makes of that.
fn alive(ground: &Ground) -> Result<(), StorageError> {
    if let Some(error) = ground.pace.take_failure() {
        return Err(error);
    }
    match ground.disk.struck() {
        Some(Trouble::Kill | Trouble::PowerLoss(_)) => Err(gone_wrong(ground, "the process is gone")),
        Some(Trouble::Error(_) | Trouble::Full | Trouble::Lie) | None => Ok(()),
    }
}

fn gone_wrong(ground: &Ground, why: &'static str) -> StorageError {
    StorageError::Io { file: ground.file(), doing: "go on", source: std::io::Error::other(why) }
}

/// Runs a start to its end: the disk takes up at once what it wants to write.
fn block_on<T>(future: impl Future<Output = T>, ground: &Ground) -> Result<T, StorageError> {
    let mut future = std::pin::pin!(future);
    let mut context = Context::from_waker(Waker::noop());
    for _ in 0..MOST_ROUNDS {
        let polled = future.as_mut().poll(&mut context);
        alive(ground)?;
        match polled {
            Poll::Ready(value) => return Ok(value),
            Poll::Pending => ground.pace.grant(),
        }
    }
    Err(gone_wrong(ground, "its start does not end"))
}

impl<R: ResourceManager + ParticipantLog> SteppedStore for Polled<R> {
    fn identity(&self) -> StoreId {
        self.store.identity()
    }

    fn recovered(&self) -> Recovered {
        self.store.recovered()
    }

    fn sequence(&self) -> u64 {
        self.store.sequence()
    }

    fn execute(&mut self, work: Work) -> Result<(), StorageError> {
        let xid = work.xid;
        self.start(Step::Kv1, |store| async move { Ended::Execute(xid, store.execute(work).await) })
    }

    fn prepare(&mut self, work: Work, record: Prepared) -> Result<(), StorageError> {
        let xid = work.xid;
        self.start(Step::Kv2, |store| async move { Ended::Prepare(xid, store.prepare(work, record).await) })
    }

    fn commit_one_phase(&mut self, work: Work, key: Key, hash: ContentHash) -> Result<(), StorageError> {
        let xid = work.xid;
        self.start(
            Step::Kv5,
            |store| async move { Ended::OnePhase(xid, store.commit_one_phase(work, key, hash).await) },
        )
    }

    fn cancel(&mut self, xid: Xid, reason: Reason) -> Result<(), StorageError> {
        self.store.cancel(xid, reason);
        self.settle()
    }

    fn commit(&mut self, xid: Xid) -> Result<(), StorageError> {
        self.start(Step::Kv5, |store| async move { Ended::Commit(xid, store.commit(xid).await) })
    }

    fn abort(&mut self, xid: Xid) -> Result<(), StorageError> {
        self.start(Step::Kv5, |store| async move {
            store.abort(xid).await;
            Ended::Abort(xid)
        })
    }

    fn release(&mut self, xid: Xid) -> Result<(), StorageError> {
        self.store.release(xid);
        self.settle()
    }

    fn force(&mut self, line: Line) -> Result<u64, StorageError> {
        self.forces += 1;
        let number = self.forces;
        self.start(Step::Kv7, |store| async move {
            store.force(line).await;
            Ended::Force(number)
        })?;
        Ok(number)
    }

    fn note(&mut self, line: Line) -> Result<(), StorageError> {
        self.store.note(line);
        self.settle()
    }

    fn queued(&self) -> (usize, bool) {
        let waiting = usize::try_from(self.ground.pace.waiting()).unwrap_or(usize::MAX);
        (waiting, waiting > 0)
    }

    fn queued_steps(&self) -> Vec<Step> {
        // Which of them wait for the disk, and which for a lock, only the store knows.
        if self.queued().1 { self.doing.iter().map(|(step, _)| *step).collect() } else { Vec::new() }
    }

    fn write_batch(&mut self) -> Result<(), StorageError> {
        self.ground.pace.grant();
        let told = self.ended.len();
        self.settle()?;
        self.written.extend(self.ended.drain(told..));
        Ok(())
    }

    fn report(&mut self) -> Result<(), StorageError> {
        self.ended.append(&mut self.written);
        Ok(())
    }

    fn take_ended(&mut self) -> Vec<Ended> {
        std::mem::take(&mut self.ended)
    }

    fn values(&self, question: &AskValues) -> Result<ValuePage, String> {
        self.store.values(question)
    }
}
