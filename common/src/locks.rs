//! Every lock there is, and the one order in which a thread may take several.
//!
//! Nothing here is held over an `await` (clippy.toml names the guards), and tasks own their state; what is left are
//! short critical sections. A debug build looks at each: a lock that is taken while one behind it in the list is held,
//! or while it is held itself, panics with both names, whether or not another thread comes in between at that moment. A
//! release build has plain locks of the standard library.
//!
//! Poison is ignored: what is guarded is whole at any time, or the file that it belongs to is shut.
//!
//! Not in the list are two locks of tokio, held over an `await` and therefore never taken with one of these in hand: a
//! client's dialling of one address, and the command's queue of lines. A test keeps the list complete.

use std::ops::{Deref, DerefMut};
use std::sync::{self, Condvar, LockResult, PoisonError, TryLockError};
use std::time::Duration;

/// All locks, those that may be taken first in front.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Lock {
    /// A client's ways to addresses that become known one by one.
    Pool,
    /// A client's memory of where participants are.
    Places,
    /// The connection to one address.
    Live,
    /// Why the last dialling of one address failed.
    Failure,
    /// The highest sequence heard of from a coordinator.
    Standing,
    /// What a client has done in one transaction.
    Progress,
    /// Whom to tell the first error of a store.
    Fatal,
    /// Free space and the ballast.
    Space,
    /// What waits for a log's thread.
    LogQueue,
    /// The file of the head hint.
    Hint,
    /// Whether a store's file may be written: held shared while it is read or written.
    Gate,
    /// What a file's gate holds back until the file is verified.
    GateHeld,
    /// The first error of the device.
    GateFailure,
}

/// A mutex that knows its place.
#[derive(Debug)]
pub struct Mutex<T> {
    lock: Lock,
    inner: sync::Mutex<T>,
}

/// A lock of many readers that knows its place. Its readers must not take it again: one that waits to write would come
/// in between.
#[derive(Debug)]
pub struct RwLock<T> {
    lock: Lock,
    inner: sync::RwLock<T>,
}

/// What is guarded, for as long as the lock is held.
#[derive(Debug)]
pub struct Guard<G> {
    guard: G,
    turn: Turn,
}

/// The guard of a [`Mutex`].
pub type MutexGuard<'l, T> = Guard<sync::MutexGuard<'l, T>>;
/// A reader's guard of a [`RwLock`].
pub type ReadGuard<'l, T> = Guard<sync::RwLockReadGuard<'l, T>>;
/// A writer's guard of a [`RwLock`].
pub type WriteGuard<'l, T> = Guard<sync::RwLockWriteGuard<'l, T>>;

impl<T> Mutex<T> {
    /// A lock at this place of the list.
    pub const fn new(lock: Lock, value: T) -> Self {
        Self { lock, inner: sync::Mutex::new(value) }
    }

    /// Waits for it.
    ///
    /// # Panics
    /// In a debug build, when the order is another one.
    pub fn lock(&self) -> MutexGuard<'_, T> {
        let turn = Turn::take(self.lock);
        Guard { guard: whole(self.inner.lock()), turn }
    }

    /// Takes it if nobody has it.
    ///
    /// # Panics
    /// In a debug build, when the order is another one.
    pub fn try_lock(&self) -> Option<MutexGuard<'_, T>> {
        let turn = Turn::take(self.lock);
        match self.inner.try_lock() {
            Ok(guard) => Some(Guard { guard, turn }),
            Err(TryLockError::Poisoned(poisoned)) => Some(Guard { guard: poisoned.into_inner(), turn }),
            Err(TryLockError::WouldBlock) => None,
        }
    }

    /// What was guarded.
    pub fn into_inner(self) -> T {
        whole(self.inner.into_inner())
    }
}

impl<T> RwLock<T> {
    /// A lock at this place of the list.
    pub const fn new(lock: Lock, value: T) -> Self {
        Self { lock, inner: sync::RwLock::new(value) }
    }

    /// Waits until nobody writes.
    ///
    /// # Panics
    /// In a debug build, when the order is another one.
    pub fn read(&self) -> ReadGuard<'_, T> {
        let turn = Turn::take(self.lock);
        Guard { guard: whole(self.inner.read()), turn }
    }

    /// Waits until it is alone.
    ///
    /// # Panics
    /// In a debug build, when the order is another one.
    pub fn write(&self) -> WriteGuard<'_, T> {
        let turn = Turn::take(self.lock);
        Guard { guard: whole(self.inner.write()), turn }
    }
}

impl<'l, T> MutexGuard<'l, T> {
    /// Lets go of the lock until somebody calls.
    #[must_use]
    pub fn wait(self, call: &Condvar) -> Self {
        Self { guard: whole(call.wait(self.guard)), turn: self.turn }
    }

    /// The same for a time at most.
    #[must_use]
    pub fn wait_timeout(self, call: &Condvar, time: Duration) -> Self {
        Self { guard: whole(call.wait_timeout(self.guard, time)).0, turn: self.turn }
    }
}

impl<G: Deref> Deref for Guard<G> {
    type Target = G::Target;

    fn deref(&self) -> &G::Target {
        &self.guard
    }
}

impl<G: DerefMut> DerefMut for Guard<G> {
    fn deref_mut(&mut self) -> &mut G::Target {
        &mut self.guard
    }
}

fn whole<T>(result: LockResult<T>) -> T {
    result.unwrap_or_else(PoisonError::into_inner)
}

/// That a thread holds a lock, or is about to.
#[derive(Debug)]
struct Turn {
    #[cfg(debug_assertions)]
    lock: Lock,
}

#[cfg(not(debug_assertions))]
impl Turn {
    #[inline(always)]
    const fn take(_: Lock) -> Self {
        Self {}
    }
}

#[cfg(debug_assertions)]
mod turns {
    use super::{Lock, Turn};
    use std::cell::RefCell;

    thread_local! {
        static HELD: RefCell<Vec<Lock>> = const { RefCell::new(Vec::new()) };
    }

    impl Turn {
        pub(super) fn take(lock: Lock) -> Self {
            // A thread that ends has nothing left to compare with; its last destructors may still lock.
            let behind = HELD.try_with(|held| held.borrow().iter().copied().find(|held| *held >= lock)).ok().flatten();
            if let Some(held) = behind {
                panic!("lock order: {lock:?} is taken while {held:?} is held, which comes behind it");
            }
            let _ = HELD.try_with(|held| held.borrow_mut().push(lock));
            Self { lock }
        }
    }

    impl Drop for Turn {
        fn drop(&mut self) {
            let _ = HELD.try_with(|held| {
                let mut held = held.borrow_mut();
                let at = held.iter().rposition(|lock| *lock == self.lock);
                at.map(|at| held.remove(at))
            });
        }
    }
}

#[cfg(all(test, debug_assertions))]
mod tests {
    use super::*;
    use std::panic::{AssertUnwindSafe, catch_unwind};

    fn said(take: impl FnOnce()) -> String {
        let panic = catch_unwind(AssertUnwindSafe(take)).expect_err("it has to be noticed");
        panic.downcast_ref::<String>().expect("a text").clone()
    }

    #[test]
    fn locks_in_their_order_are_taken_and_given_back_in_any() {
        let (first, second) = (Mutex::new(Lock::Hint, 1), RwLock::new(Lock::Gate, 2));
        let (one, two) = (first.lock(), second.read());
        assert_eq!(*one + *two, 3);
        drop(one);
        drop(two);
        *first.lock() += 1;
        assert_eq!((*first.lock(), *second.write()), (2, 2));
    }

    #[test]
    fn a_lock_taken_behind_its_place_is_noticed_without_a_second_thread() {
        let (first, second) = (Mutex::new(Lock::Space, ()), Mutex::new(Lock::LogQueue, ()));
        let held = second.lock();
        assert_eq!(
            said(|| drop(first.lock())),
            "lock order: Space is taken while LogQueue is held, which comes behind it"
        );
        // Whether it is free at the moment makes no difference.
        assert!(said(|| drop(first.try_lock())).starts_with("lock order: Space"));
        drop(held);
        drop(first.lock());
    }

    #[test]
    fn a_lock_taken_twice_is_noticed_and_does_not_hang() {
        let lock = RwLock::new(Lock::Gate, ());
        let _held = lock.read();
        assert!(said(|| drop(lock.read())).contains("Gate is taken while Gate is held"));
    }

    #[test]
    fn whoever_waits_for_a_call_holds_it_again_afterwards() {
        let (lock, call) = (Mutex::new(Lock::LogQueue, 0), Condvar::new());
        let guard = lock.lock().wait_timeout(&call, Duration::from_millis(1));
        assert!(said(|| drop(lock.lock())).contains("LogQueue is held"));
        drop(guard);
        std::thread::scope(|scope| {
            let mut guard = lock.lock();
            scope.spawn(|| {
                *lock.lock() = 1;
                call.notify_one();
            });
            while *guard == 0 {
                guard = guard.wait(&call);
            }
        });
        assert_eq!(lock.into_inner(), 1);
    }

    #[test]
    fn other_threads_have_turns_of_their_own() {
        let (first, second) = (Mutex::new(Lock::Space, ()), Mutex::new(Lock::LogQueue, ()));
        let _held = second.lock();
        std::thread::scope(|scope| scope.spawn(|| drop(first.lock())).join()).expect("it may");
    }
}
