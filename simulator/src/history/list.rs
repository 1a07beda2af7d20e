//! Lists as text: what a store that has none keeps them as.

use std::fmt::Write;

/// Elements with commas between them; nothing for an empty list.
#[must_use]
pub fn list_to_text(list: &[u64]) -> String {
    let mut text = String::new();
    for element in list {
        let comma = if text.is_empty() { "" } else { "," };
        write!(text, "{comma}{element}").expect("a string takes everything");
    }
    text
}

/// The list behind a text.
///
/// # Errors
/// With the text, when it is no list: somebody else wrote there, or it is damaged.
pub fn text_to_list(text: &str) -> Result<Vec<u64>, String> {
    if text.is_empty() {
        return Ok(Vec::new());
    }
    text.split(',').map(str::parse).collect::<Result<_, _>>().map_err(|_| format!("'{text}' is no list"))
}

/// For people: of a long list the newest elements.
pub(super) fn shortened(list: &[u64]) -> String {
    const SHOWN: usize = 8;
    let hidden = list.len().saturating_sub(SHOWN);
    let shown: Vec<String> = list[hidden..].iter().map(u64::to_string).collect();
    let more = if hidden == 0 { String::new() } else { format!("{hidden} more, ") };
    format!("[{more}{}]", shown.join(", "))
}
