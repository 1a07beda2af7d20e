//! What the environment may change of a test: longer runs, and runs of other seeds, are the same test.

/// A number from the environment.
///
/// # Panics
/// When something else than a number is set.
#[must_use]
pub fn setting(name: &str, otherwise: u64) -> u64 {
    std::env::var(name).map_or(otherwise, |text| text.parse().unwrap_or_else(|_| panic!("{name} is no number")))
}
