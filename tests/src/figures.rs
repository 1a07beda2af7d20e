//! Figures of several runs, and what servers say of their own when they end.

/// The number behind the last `label` of a log.
#[must_use]
pub fn last_number(log: &str, label: &str) -> Option<f64> {
    let at = log.rfind(label)? + label.len();
    let digits: String = log[at..].chars().take_while(char::is_ascii_digit).collect();
    digits.parse().ok()
}

/// The one in the middle.
#[must_use]
pub fn median(values: &[f64]) -> f64 {
    sorted(values)[values.len() / 2]
}

/// The smallest.
#[must_use]
pub fn least(values: &[f64]) -> f64 {
    sorted(values)[0]
}

/// The largest.
#[must_use]
pub fn most(values: &[f64]) -> f64 {
    sorted(values)[values.len() - 1]
}

fn sorted(values: &[f64]) -> Vec<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted
}
