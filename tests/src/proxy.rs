//! A TCP proxy that does to one link what networks do: cuts, resets, silence, delay, and bytes that change on the way.
//!
//! What is held back is delivered later, as TCP would send it again; a connection that has lost anything for good is
//! never used again. One fault at a time; each injected fault is counted once, when it first touches a byte or a
//! connection.

use std::collections::BTreeMap;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{oneshot, watch};

/// One direction of a link.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Way {
    /// From the side that dialled.
    Forth,
    /// To it.
    Back,
}

/// What happens to a link until the next fault, or until it is healed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fault {
    /// After so many more bytes of one way both ends are closed, as when a process ends: in the middle of a frame, most
    /// often. Once.
    Cut {
        /// Whose bytes count.
        way: Way,
        /// How many still pass.
        after: u64,
    },
    /// The same by reset. Once.
    Reset {
        /// Whose bytes count.
        way: Way,
        /// How many still pass.
        after: u64,
    },
    /// After so many more bytes of one way a bit of the next one is another. Once.
    Corrupt {
        /// Whose bytes count.
        way: Way,
        /// How many still pass as they are.
        after: u64,
        /// Which bit, from 0 to 7.
        bit: u8,
    },
    /// Nothing passes, no end is told of anything, and no new connection comes about.
    BlackHole,
    /// The same for one way; the other way's bytes pass.
    OneWay {
        /// Which way nothing passes.
        way: Way,
    },
    /// Connections there are carry nothing any more and are not closed, until the link is healed: then they are reset.
    /// New ones work.
    HalfOpen,
    /// Every piece comes later by this.
    Delay(Duration),
    /// No more than so many bytes a second in either way.
    Rate(u64),
}

impl Fault {
    /// Names of all kinds.
    pub const KINDS: [&'static str; 8] =
        ["cut", "reset", "corrupt", "black-hole", "one-way", "half-open", "delay", "rate"];

    /// The name of its kind.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Cut { .. } => "cut",
            Self::Reset { .. } => "reset",
            Self::Corrupt { .. } => "corrupt",
            Self::BlackHole => "black-hole",
            Self::OneWay { .. } => "one-way",
            Self::HalfOpen => "half-open",
            Self::Delay(_) => "delay",
            Self::Rate(_) => "rate",
        }
    }
}

/// A running proxy on a thread of its own. It ends with this value, and all its connections with it.
#[derive(Debug)]
pub struct Proxy {
    link: Arc<Link>,
    address: String,
    /// Dropped, it ends the thread.
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Proxy {
    /// Listens on a free port of this machine. Until it has a target, connections to it are reset.
    ///
    /// # Errors
    /// The system's.
    pub fn start() -> io::Result<Self> {
        let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?.to_string();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let link = Arc::new(Link { state: watch::Sender::new(State::default()), hits: Mutex::default() });
        let (stop, stopped) = oneshot::channel();
        let of_thread = Arc::clone(&link);
        let thread = std::thread::Builder::new().name("proxy".to_owned()).spawn(move || {
            runtime.block_on(async {
                let listener = TcpListener::from_std(listener).expect("a listener that is bound");
                tokio::select! {
                    biased;
                    _ = stopped => {}
                    () = accept(&listener, &of_thread) => {}
                }
            });
        })?;
        Ok(Self { link, address, stop: Some(stop), thread: Some(thread) })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Where new connections lead from now on.
    pub fn lead_to(&self, target: &str) {
        self.link.state.send_modify(|state| state.target = Some(target.to_owned()));
    }

    /// Puts a fault in the place of the one before.
    pub fn inject(&self, fault: Fault) {
        self.link.state.send_modify(|state| {
            state.fault = Some(fault);
            state.hit = false;
            state.injections += 1;
        });
    }

    /// Ends what goes on, and resets what is half open. What was held back arrives.
    pub fn heal(&self) {
        self.link.state.send_modify(|state| {
            state.fault = None;
            state.heals += 1;
        });
    }

    /// How many injected faults have touched something, by kind.
    #[must_use]
    pub fn hits(&self) -> BTreeMap<&'static str, u64> {
        self.link.hits.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // Its panic has been printed by then.
            drop(thread.join());
        }
    }
}

/// Bytes taken in one piece.
const PIECE: usize = 16 << 10;

#[derive(Debug)]
struct Link {
    state: watch::Sender<State>,
    hits: Mutex<BTreeMap<&'static str, u64>>,
}

#[derive(Default, Debug)]
struct State {
    target: Option<String>,
    fault: Option<Fault>,
    /// Whether the present fault has been counted.
    hit: bool,
    injections: u64,
    heals: u64,
}

/// One connection through the proxy, as both of its ways see it.
struct Passage {
    /// How many faults had been injected when it came about: one that is half open takes older connections only.
    born: u64,
    /// It carries nothing any more.
    dead: AtomicBool,
}

/// What becomes of a piece.
enum Verdict {
    Pass,
    PassAfter(Duration),
    Hold,
    Dead,
    /// So many bytes pass, then this is the end.
    End(usize, Ending),
}

/// How a connection ends, at both ends alike.
enum Ending {
    Closed,
    Reset,
}

async fn accept(listener: &TcpListener, link: &Arc<Link>) {
    while let Ok((stream, _)) = listener.accept().await {
        let link = Arc::clone(link);
        tokio::spawn(async move { link.carry(stream).await });
    }
}

impl Link {
    /// The whole life of a connection.
    async fn carry(&self, mut near: TcpStream) {
        let mut state = self.state.subscribe();
        let closed = |state: &State| matches!(state.fault, Some(Fault::BlackHole | Fault::OneWay { .. }));
        let (target, born) = loop {
            {
                let state = state.borrow_and_update();
                if !closed(&state) {
                    break (state.target.clone(), state.injections);
                }
            }
            self.hit();
            if state.changed().await.is_err() {
                return;
            }
        };
        let dialled = match target {
            Some(target) => TcpStream::connect(target).await,
            None => Err(io::ErrorKind::NotConnected.into()),
        };
        let Ok(mut far) = dialled else { return reset(&near) };
        for stream in [&near, &far] {
            // Small pieces must not wait for each other: delay is a fault of its own.
            drop(stream.set_nodelay(true));
        }
        let passage = Passage { born, dead: AtomicBool::new(false) };
        let ending = {
            let ((near_read, near_write), (far_read, far_write)) = (near.split(), far.split());
            tokio::select! {
                ending = self.pump(Way::Forth, near_read, far_write, &passage) => ending,
                ending = self.pump(Way::Back, far_read, near_write, &passage) => ending,
            }
        };
        if matches!(ending, Ending::Reset) {
            reset(&near);
            reset(&far);
        }
    }

    /// Carries one way until the connection ends.
    async fn pump(&self, way: Way, mut from: ReadHalf<'_>, mut to: WriteHalf<'_>, passage: &Passage) -> Ending {
        let mut state = self.state.subscribe();
        let mut buffer = vec![0; PIECE];
        loop {
            let Ok(count) = from.read(&mut buffer).await else { return Ending::Reset };
            let piece = &mut buffer[..count];
            let (pass, ending) = loop {
                state.borrow_and_update();
                match self.judge(way, piece, passage) {
                    Verdict::Pass => break (count, None),
                    Verdict::PassAfter(time) => {
                        tokio::time::sleep(time).await;
                        break (count, None);
                    }
                    Verdict::End(pass, ending) => break (pass, Some(ending)),
                    Verdict::Hold => {
                        if state.changed().await.is_err() {
                            return Ending::Reset;
                        }
                    }
                    Verdict::Dead => {
                        let heals = state.borrow().heals;
                        // Whether it was healed or the proxy ends.
                        drop(state.wait_for(|state| state.heals > heals).await);
                        return Ending::Reset;
                    }
                }
            };
            if to.write_all(&piece[..pass]).await.is_err() {
                return Ending::Reset;
            }
            match ending {
                Some(ending) => return ending,
                None if count == 0 => return Ending::Closed,
                None => {}
            }
        }
    }

    fn judge(&self, way: Way, piece: &mut [u8], passage: &Passage) -> Verdict {
        if passage.dead.load(Ordering::Relaxed) {
            return Verdict::Dead;
        }
        let (mut verdict, mut touched) = (Verdict::Pass, true);
        self.state.send_if_modified(|state| {
            let Some(fault) = &mut state.fault else {
                touched = false;
                return false;
            };
            match fault {
                Fault::BlackHole => verdict = Verdict::Hold,
                Fault::OneWay { way: closed } if *closed == way => verdict = Verdict::Hold,
                Fault::HalfOpen if passage.born < state.injections => {
                    passage.dead.store(true, Ordering::Relaxed);
                    verdict = Verdict::Dead;
                }
                Fault::Delay(time) => verdict = Verdict::PassAfter(*time),
                Fault::Rate(rate) => {
                    verdict = Verdict::PassAfter(Duration::from_secs_f64(piece.len() as f64 / *rate as f64));
                }
                Fault::Cut { way: counted, after }
                | Fault::Reset { way: counted, after }
                | Fault::Corrupt { way: counted, after, .. }
                    if *counted == way =>
                {
                    let at = usize::try_from(*after).unwrap_or(usize::MAX);
                    if at >= piece.len() {
                        *after -= piece.len() as u64;
                        touched = false;
                        return false;
                    }
                    match *fault {
                        Fault::Cut { .. } => verdict = Verdict::End(at, Ending::Closed),
                        Fault::Corrupt { bit, .. } => piece[at] ^= 1 << bit,
                        _ => verdict = Verdict::End(at, Ending::Reset),
                    }
                    // Counted below, so it stays until then.
                }
                _ => touched = false,
            }
            false
        });
        if touched && !piece.is_empty() {
            self.hit();
        }
        verdict
    }

    /// The present fault has touched something; one that happens once is over with that.
    fn hit(&self) {
        self.state.send_if_modified(|state| {
            let Some(fault) = state.fault else { return false };
            if !std::mem::replace(&mut state.hit, true) {
                *self.hits.lock().unwrap_or_else(PoisonError::into_inner).entry(fault.kind()).or_default() += 1;
            }
            if matches!(fault, Fault::Cut { .. } | Fault::Reset { .. } | Fault::Corrupt { .. }) {
                state.fault = None;
            }
            false
        });
    }
}

/// Its end will be a reset: the other side learns of it at once, and what was under way is lost.
fn reset(stream: &TcpStream) {
    // A socket that is gone already has no need of it.
    drop(stream.set_zero_linger());
}

#[cfg(test)]
mod tests;
