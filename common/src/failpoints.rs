//! Named points at which a process under test ends, as by a crash of its own. Release builds have none of it.
//!
//! A name is the protocol step it belongs to (`co5` is the coordinator's decision record, `kv2` the prepare record: see
//! the steps in docs/testing.md) and where in it. The variable [`VARIABLE`] arms one of them for one process:
//! `co5.before_commit` ends it the first time it gets there, `co5.before_commit=3` the third time;
//! `co5.before_commit=stall` does not end it but lets the thread that gets there stand still, as a deadlock would.

/// The environment variable that arms a point.
pub const VARIABLE: &str = "HANDFAST_FAIL_POINT";

/// Whether there are any: what only a point needs is not worked out without.
pub const ENABLED: bool = cfg!(feature = "failpoints");

#[cfg(all(feature = "failpoints", not(debug_assertions)))]
compile_error!("fail points are for tests: the feature `failpoints` needs a build with debug assertions");

/// A point. Without the feature it is nothing at all.
#[cfg(not(feature = "failpoints"))]
#[inline(always)]
pub const fn reach(_name: &'static str) {}

/// A point: ends the process if it is armed.
#[cfg(feature = "failpoints")]
pub fn reach(name: &'static str) {
    fail::fail_point!(name);
}

/// Arms what [`VARIABLE`] names. Called once, before anything else.
///
/// # Panics
/// When the variable holds something else than a name and a count.
#[cfg(feature = "failpoints")]
pub fn arm() {
    use std::sync::atomic::{AtomicU64, Ordering};

    let Ok(text) = std::env::var(VARIABLE) else { return };
    let (name, count) = text.split_once('=').unwrap_or((&text, "1"));
    let stalls = count == "stall";
    let count = if stalls { "1" } else { count };
    let left = AtomicU64::new(count.parse().expect("a count behind the name of a fail point"));
    let point = name.to_owned();
    let end = move || {
        if left.fetch_sub(1, Ordering::SeqCst) == 1 {
            eprintln!("fail point {point}");
            if stalls {
                loop {
                    std::thread::park();
                }
            }
            // No destructor runs, no buffer is written, no connection says goodbye.
            std::process::abort();
        }
    };
    fail::cfg_callback(name, end).expect("a fail point takes a callback");
}
