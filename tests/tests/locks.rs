//! The locks of the sources are those of `common/src/locks.rs`, where they have an order, and the few that are listed here
//! with the reason why they need none.

use std::fs;
use std::path::{Path, PathBuf};

/// Sources that use locks of the standard library or of tokio, and why that is safe.
const OTHERS: [(&str, &str); 4] = [
    ("common/src/locks.rs", "the ordered locks are made of them"),
    ("coordinator/src/log/worker.rs", "never taken: it only keeps a worker until its drop"),
    ("client/src/links.rs", "tokio's, for dialling one address: over an await, so never with an ordered one in hand"),
    ("cli/src/submit/mod.rs", "tokio's, for the queue of lines: there is no other lock in the command"),
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn sources(folder: &Path, found: &mut Vec<(String, String)>) {
    for entry in fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let name = path.strip_prefix(root()).expect("below").to_string_lossy().into_owned();
            if !name.ends_with("testing.rs") && !name.contains("tests") {
                found.push((name, fs::read_to_string(&path).expect("a source")));
            }
        }
    }
}

/// Whether it takes a lock from elsewhere, outside of its tests at the end.
fn has_other_locks(text: &str) -> bool {
    let own = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
    let named = |text: &str| ["Mutex", "RwLock"].iter().any(|lock| text.contains(lock));
    // An import, or a path where it is used; both end at a semicolon, or too late, which only lists a file too many.
    let mut from_sync = own.split("sync::").skip(1).filter_map(|rest| rest.split(';').next());
    from_sync.any(named) || own.contains("parking_lot")
}

#[test]
fn every_lock_has_a_place_in_the_one_order_or_a_reason_to_need_none() {
    let mut found = Vec::new();
    for room in ["common", "coordinator", "participant", "client", "cli"] {
        sources(&root().join(room).join("src"), &mut found);
    }
    assert!(found.len() > 100, "these are not the project's sources: {}", found.len());
    let mut other: Vec<&str> =
        found.iter().filter(|(_, text)| has_other_locks(text)).map(|(name, _)| name.as_str()).collect();
    let mut listed: Vec<&str> = OTHERS.iter().map(|(name, _)| *name).collect();
    listed.sort_unstable();
    other.sort_unstable();
    assert_eq!(other, listed, "locks without an order");
    assert!(found.iter().filter(|(_, text)| text.contains("locks::{") || text.contains("locks::Mutex")).count() > 8);
}

#[test]
fn every_place_of_the_order_has_its_lock() {
    let mut found = Vec::new();
    for room in ["common", "participant", "client"] {
        sources(&root().join(room).join("src"), &mut found);
    }
    let list = fs::read_to_string(root().join("common/src/locks.rs")).expect("the list");
    let list = list.split("pub enum Lock {").nth(1).and_then(|rest| rest.split('}').next()).expect("the list");
    let places: Vec<&str> = list.lines().filter_map(|line| line.trim().strip_suffix(',')).collect();
    assert!(places.len() > 10, "{places:?}");
    for place in places {
        let made = format!("::new(Lock::{place}, ");
        let users = found.iter().filter(|(name, _)| name != "common/src/locks.rs");
        assert!(users.into_iter().any(|(_, text)| text.contains(&made)), "no lock at {place}");
    }
}
