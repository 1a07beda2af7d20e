//! Running redb where a damaged page may be.
//!
//! redb may panic on damaged pages, and a database that is dropped while that panic unwinds can abort the process
//! (exit 134, no line that says why). So everything that touches pages runs under [`protect`], and whoever owns the
//! database keeps it *outside* the closure, lends it in, and forgets it after an error. [`stop`] then ends the process.

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::io::Write;
use std::panic::{self, AssertUnwindSafe, PanicHookInfo};
use std::path::Path;
use std::sync::Once;

use super::error::StorageError;

/// Runs `work`; a panic in it becomes [`StorageError::Damaged`] of `file`, and nothing is printed.
///
/// The closure must only borrow the database. What it owns is dropped during the unwind.
///
/// # Errors
/// What `work` returns, or damage when it panicked.
pub fn protect<T>(file: &Path, work: impl FnOnce() -> Result<T, StorageError>) -> Result<T, StorageError> {
    quiet_hook();
    let guarded = Guarded::enter();
    let result = panic::catch_unwind(AssertUnwindSafe(work));
    drop(guarded);
    match result {
        Ok(result) => result,
        Err(payload) => {
            let said = SAID.take().unwrap_or_else(|| text_of(payload.as_ref()));
            // A payload may have a destructor of its own, which may panic again.
            std::mem::forget(payload);
            Err(StorageError::damaged(file, format!("reading it failed an internal check ({said})")))
        }
    }
}

/// Prints the one line on standard error and ends the process with the error's exit code. No destructor runs: a
/// database dropped now would write to a file that must not be touched any more.
pub fn stop(error: &StorageError) -> ! {
    let line = format!("error[{}]: {error}\n", error.code());
    // One write, so that lines of other threads do not get in between; a closed stderr changes nothing.
    let _ = std::io::stderr().lock().write_all(line.as_bytes());
    std::process::exit(error.exit_code())
}

thread_local! {
    /// How many [`protect`] calls are on this thread's stack: their panics are caught, hence not printed.
    static GUARDED: Cell<u32> = const { Cell::new(0) };
    /// What the last panic of a guarded thread said; only the hook sees text and place.
    static SAID: RefCell<Option<String>> = const { RefCell::new(None) };
}

struct Guarded;

impl Guarded {
    fn enter() -> Self {
        GUARDED.set(GUARDED.get() + 1);
        Self
    }
}

impl Drop for Guarded {
    fn drop(&mut self) {
        GUARDED.set(GUARDED.get() - 1);
    }
}

/// Puts a hook before the one that is there. Threads that are not guarded keep the old behaviour.
fn quiet_hook() {
    static ONCE: Once = Once::new();
    // Setting a hook from a panicking thread is itself a panic.
    if std::thread::panicking() {
        return;
    }
    ONCE.call_once(|| {
        let before = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            let guarded = GUARDED.try_with(Cell::get).unwrap_or(0) > 0;
            if guarded {
                let _ = SAID.try_with(|said| said.replace(Some(describe(info))));
            } else {
                before(info);
            }
        }));
    });
}

/// Text and place of a panic, on one line.
fn describe(info: &PanicHookInfo<'_>) -> String {
    let text = text_of(info.payload()).replace('\n', " ");
    let text: String = text.chars().take(200).collect();
    match info.location() {
        Some(at) => {
            let file = Path::new(at.file()).file_name().unwrap_or_default();
            format!("{text} at {}:{}", file.display(), at.line())
        }
        None => text,
    }
}

fn text_of(payload: &(dyn Any + Send)) -> String {
    payload
        .downcast_ref::<&str>()
        .map(|text| (*text).to_owned())
        .or_else(|| payload.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "panic".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_becomes_one_line_of_damage() {
        let error = protect(Path::new("log.redb"), || -> Result<(), _> { panic!("page {}\nout of range", 7) });
        let line = error.unwrap_err().to_string();
        assert!(line.starts_with("log.redb: damaged"), "{line}");
        assert!(line.contains("page 7 out of range at guard.rs:") && !line.contains('\n'), "{line}");
    }

    /// Not a test by itself: what the one below runs in a process of its own.
    #[test]
    fn child_that_stops() {
        if std::env::var_os("HANDFAST_TEST_STOP").is_none() {
            return;
        }
        struct Aborts;
        impl Drop for Aborts {
            fn drop(&mut self) {
                std::process::abort();
            }
        }
        let _aborts = Aborts;
        let error = protect(Path::new("log.redb"), || -> Result<(), _> { panic!("bad page") });
        stop(&error.unwrap_err());
    }

    #[test]
    fn f09_stop_prints_one_line_and_runs_no_destructor() {
        let output = std::process::Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "storage::guard::tests::child_that_stops", "--nocapture", "-q"])
            .env("HANDFAST_TEST_STOP", "1")
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(9));
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(said.starts_with("error[HF0105]: log.redb: damaged: ") && said.lines().count() == 1, "{said}");
    }

    #[test]
    fn guards_nest_and_results_pass_through() {
        let file = Path::new("x");
        let inner = protect(file, || {
            let caught = protect(file, || -> Result<(), _> { panic!("inner") });
            assert!(caught.is_err());
            Ok(5)
        });
        assert_eq!(inner.unwrap(), 5);
        let passed = protect(file, || -> Result<(), _> { Err(StorageError::DiskFull { file: file.into() }) });
        assert!(matches!(passed, Err(StorageError::DiskFull { .. })));
        assert_eq!(GUARDED.get(), 0);
    }
}
