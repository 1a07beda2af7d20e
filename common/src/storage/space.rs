//! Room on the disk, looked at before redb runs out of it.
//!
//! An ENOSPC out of redb is fatal, so new work is refused while a reserve is still free. And because others fill disks
//! too, a ballast of really allocated blocks lies in the folder: when the free space falls under a critical level it
//! is given up, so that phase two of what is prepared can still be written.
//!
//! Make the [`Space`] before the store is opened: a start on a full disk needs the ballast's blocks as well.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rustix::fs::FallocateFlags;

use super::error::StorageError;
use super::folder::Folder;
use crate::locks::{Lock, Mutex};

/// Levels of free space, in bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SpaceOptions {
    /// New work is refused below it.
    pub reserve: u64,
    /// The ballast is given up below it.
    pub critical: u64,
    /// Size of the ballast: enough for phase two of all that can be prepared. 0 for none.
    pub ballast: u64,
    /// The disk is asked at most this often.
    pub every: Duration,
}

impl SpaceOptions {
    /// 64 MiB reserve, 16 MiB critical, 16 MiB ballast, every 100 ms.
    pub const DEFAULTS: Self =
        Self { reserve: 64 << 20, critical: 16 << 20, ballast: 16 << 20, every: Duration::from_millis(100) };
}

impl Default for SpaceOptions {
    fn default() -> Self {
        Self::DEFAULTS
    }
}

const _: () = assert!(SpaceOptions::DEFAULTS.critical < SpaceOptions::DEFAULTS.reserve);

/// Tells how many bytes are free for us.
pub type Probe = Box<dyn Fn() -> io::Result<u64> + Send + Sync>;

/// The gauge of one folder.
pub struct Space {
    options: SpaceOptions,
    probe: Probe,
    ballast: PathBuf,
    /// The answer that the hot path reads.
    room: AtomicBool,
    state: Mutex<State>,
}

struct State {
    looked: Instant,
    /// Whether the ballast's blocks are allocated.
    held: bool,
}

impl Space {
    /// A gauge of the file system that the folder is on. A full disk is no error here: then there is no room.
    ///
    /// # Errors
    /// `Io` when the ballast file can't be looked at.
    pub fn new(folder: &Folder, options: SpaceOptions) -> Result<Self, StorageError> {
        let path = folder.path().to_owned();
        Self::with_probe(folder.path(), options, Box::new(move || free_bytes(&path)))
    }

    /// A gauge that asks `probe`.
    ///
    /// # Errors
    /// As for [`Space::new`].
    pub fn with_probe(folder: &Path, options: SpaceOptions, probe: Probe) -> Result<Self, StorageError> {
        let ballast = folder.join("ballast");
        let held = match std::fs::metadata(&ballast) {
            Ok(found) => options.ballast > 0 && allocated(&found) >= options.ballast,
            Err(error) if error.kind() == io::ErrorKind::NotFound => false,
            Err(source) => return Err(StorageError::from_io(&ballast, "look at the ballast", source)),
        };
        let state = Mutex::new(Lock::Space, State { looked: Instant::now(), held });
        let space = Self { options, probe, ballast, room: AtomicBool::new(false), state };
        space.refresh_now();
        Ok(space)
    }

    /// Whether new work may begin. One atomic read; as fresh as the last [`Space::refresh`].
    #[must_use]
    pub fn has_room(&self) -> bool {
        self.room.load(Ordering::Acquire)
    }

    /// Asks the disk, unless that was done within [`SpaceOptions::every`], and then answers like [`Space::has_room`].
    ///
    /// Rarely, when the ballast comes or goes, this syncs a file: call it where that may wait, not in an owner task.
    pub fn refresh(&self) -> bool {
        if let Some(mut state) = self.state.try_lock().filter(|state| state.looked.elapsed() >= self.options.every) {
            self.look(&mut state);
        }
        self.has_room()
    }

    /// Asks the disk now.
    pub fn refresh_now(&self) -> bool {
        self.look(&mut self.state.lock());
        self.has_room()
    }

    /// Whether the ballast is in place.
    #[must_use]
    pub fn holds_ballast(&self) -> bool {
        self.state.lock().held
    }

    fn look(&self, state: &mut State) {
        state.looked = Instant::now();
        let free = (self.probe)().unwrap_or_else(|error| {
            // Not knowing is not having. It changes nothing that is stored, so it is no reason to stop.
            tracing::warn!(file = %self.ballast.display(), "can't ask for free space: {error}");
            0
        });
        if free < self.options.critical && state.held {
            self.give_up(state, free);
        } else if !state.held && self.options.ballast > 0 && free >= self.remake_level() {
            self.make(state);
        }
        let ready = state.held || self.options.ballast == 0;
        self.room.store(ready && free >= self.options.reserve, Ordering::Release);
    }

    /// Above what giving it up sets free, and what making it takes: otherwise it would come and go.
    const fn remake_level(&self) -> u64 {
        self.options.reserve.saturating_add(self.options.ballast.saturating_mul(2))
    }

    fn make(&self, state: &mut State) {
        match allocate(&self.ballast, self.options.ballast) {
            Ok(()) => state.held = true,
            Err(error) => {
                tracing::warn!(file = %self.ballast.display(), "can't make the ballast: {error}");
                let _ = truncate(&self.ballast);
            }
        }
    }

    fn give_up(&self, state: &mut State, free: u64) {
        state.held = false;
        match truncate(&self.ballast) {
            Ok(()) => {
                tracing::warn!(file = %self.ballast.display(), free, "the disk is full: the ballast was given up")
            }
            Err(error) => tracing::warn!(file = %self.ballast.display(), "can't give up the ballast: {error}"),
        }
    }
}

fn free_bytes(folder: &Path) -> io::Result<u64> {
    let found = rustix::fs::statvfs(folder)?;
    // What is kept for root is not for us.
    Ok(found.f_bavail.saturating_mul(found.f_frsize))
}

fn allocated(found: &std::fs::Metadata) -> u64 {
    use std::os::unix::fs::MetadataExt;
    (found.blocks() * 512).min(found.len())
}

/// Real blocks: a sparse file would give nothing back.
fn allocate(path: &Path, bytes: u64) -> io::Result<()> {
    let file = OpenOptions::new().write(true).create(true).truncate(true).open(path)?;
    match rustix::fs::fallocate(&file, FallocateFlags::empty(), 0, bytes) {
        Ok(()) => {}
        Err(rustix::io::Errno::OPNOTSUPP | rustix::io::Errno::NOSYS) => fill(&file, bytes)?,
        Err(error) => return Err(error.into()),
    }
    file.sync_all()
}

fn fill(mut file: &File, bytes: u64) -> io::Result<()> {
    // Not zeros: some file systems store those as holes.
    let block = [0xA5; 64 << 10];
    let mut left = bytes;
    while left > 0 {
        let part = usize::try_from(left).unwrap_or(usize::MAX).min(block.len());
        file.write_all(&block[..part])?;
        left -= part as u64;
    }
    Ok(())
}

/// The sync lets the file system hand out the blocks at once instead of after its own next commit.
fn truncate(path: &Path) -> io::Result<()> {
    let file = OpenOptions::new().write(true).open(path)?;
    file.set_len(0)?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::AtomicU64;

    use super::*;

    const MIB: u64 = 1 << 20;

    fn options() -> SpaceOptions {
        SpaceOptions { reserve: 64 * MIB, critical: 16 * MIB, ballast: MIB, every: Duration::ZERO }
    }

    fn gauge(folder: &Path, free: u64, options: SpaceOptions) -> (Space, Arc<AtomicU64>) {
        let free = Arc::new(AtomicU64::new(free));
        let read = free.clone();
        let probe = Box::new(move || match read.load(Ordering::SeqCst) {
            u64::MAX => Err(io::Error::other("gone")),
            free => Ok(free),
        });
        (Space::with_probe(folder, options, probe).unwrap(), free)
    }

    fn size(folder: &Path) -> u64 {
        std::fs::metadata(folder.join("ballast")).map_or(0, |found| allocated(&found))
    }

    #[test]
    fn no_room_below_the_reserve_and_the_ballast_goes_below_the_critical_level() {
        let place = tempfile::tempdir().unwrap();
        let (space, free) = gauge(place.path(), 1_000 * MIB, options());
        assert!(space.has_room() && space.holds_ballast());
        assert_eq!(size(place.path()), MIB, "blocks are really allocated");

        free.store(63 * MIB, Ordering::SeqCst);
        assert!(space.has_room(), "the cheap answer is the last one");
        assert!(!space.refresh() && space.holds_ballast());
        free.store(64 * MIB, Ordering::SeqCst);
        assert!(space.refresh());

        free.store(15 * MIB, Ordering::SeqCst);
        assert!(!space.refresh() && !space.holds_ballast());
        assert_eq!(size(place.path()), 0);

        // Room again only with the ballast in place, and that only well above the reserve.
        free.store(65 * MIB, Ordering::SeqCst);
        assert!(!space.refresh() && !space.holds_ballast());
        free.store(66 * MIB, Ordering::SeqCst);
        assert!(space.refresh() && space.holds_ballast());
        assert_eq!(size(place.path()), MIB);
    }

    #[test]
    fn a_start_on_a_full_disk_gives_the_ballast_up_at_once() {
        let place = tempfile::tempdir().unwrap();
        drop(gauge(place.path(), 1_000 * MIB, options()));
        let (space, _) = gauge(place.path(), MIB, options());
        assert!(!space.has_room() && !space.holds_ballast());
        assert_eq!(size(place.path()), 0);
        let fresh = tempfile::tempdir().unwrap();
        let (space, _) = gauge(fresh.path(), MIB, options());
        assert!(!space.has_room() && !fresh.path().join("ballast").exists());
    }

    #[test]
    fn it_asks_at_most_so_often_and_not_knowing_is_no_room() {
        let place = tempfile::tempdir().unwrap();
        let slow = SpaceOptions { every: Duration::from_secs(3_600), ..options() };
        let (space, free) = gauge(place.path(), 1_000 * MIB, slow);
        free.store(u64::MAX, Ordering::SeqCst);
        assert!(space.refresh(), "asked a moment ago");
        assert!(!space.refresh_now());
    }

    #[test]
    fn the_real_disk_is_asked() {
        let place = tempfile::tempdir().unwrap();
        let folder = Folder::lock(place.path(), super::super::Kind::Coordinator, "c").unwrap();
        let options = SpaceOptions { reserve: 1, critical: 0, ballast: MIB, ..SpaceOptions::DEFAULTS };
        let space = Space::new(&folder, options).unwrap();
        assert!(space.has_room());
        fill(&File::create(folder.file("filled")).unwrap(), 100_000).unwrap();
        assert_eq!(std::fs::metadata(folder.file("filled")).unwrap().len(), 100_000);
    }
}
