//! Durations as people type them.

use std::time::Duration;

/// Reads `500ms`, `2s` or `1m`.
pub(crate) fn parse(text: &str) -> Result<Duration, String> {
    let at = text.find(|character: char| !character.is_ascii_digit()).unwrap_or(text.len());
    let (digits, unit) = text.split_at(at);
    let count: u64 = digits.parse().map_err(|_| format!("'{text}' is no duration: write 500ms, 2s or 1m"))?;
    match unit {
        "ms" => Ok(Duration::from_millis(count)),
        "s" => Ok(Duration::from_secs(count)),
        "m" => Ok(Duration::from_secs(count.saturating_mul(60))),
        _ => Err(format!("'{text}' is no duration: write 500ms, 2s or 1m")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_need_a_unit() {
        assert_eq!(parse("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(parse("2s"), Ok(Duration::from_secs(2)));
        assert_eq!(parse("1m"), Ok(Duration::from_secs(60)));
        for bad in ["", "5", "ms", "1h", "-1s"] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }
}
