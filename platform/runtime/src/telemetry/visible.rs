//! Escapes foreign text for terminals.

use std::fmt::Write;

/// Escapes what a terminal would obey, or what would disguise the text: control characters, line ends included, and
/// marks of text direction.
pub fn visible(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        if is_active(c) {
            shown.extend(c.escape_default());
        } else {
            shown.push(c);
        }
    }
    shown
}

/// Escapes the same in a line of JSON without changing its meaning: such characters occur only in strings. JSON itself
/// requires escapes only for the first 32 characters.
pub(super) fn visible_json(line: &str) -> String {
    let mut shown = String::with_capacity(line.len());
    for c in line.chars() {
        if c != '\n' && is_active(c) {
            // Writing to a string does not fail. All these characters fit into four hex digits.
            let _ = write!(shown, "\\u{:04x}", u32::from(c));
        } else {
            shown.push(c);
        }
    }
    shown
}

fn is_active(c: char) -> bool {
    c.is_control() || is_deceptive(c)
}

/// Line and paragraph separators, and marks of text direction.
const fn is_deceptive(c: char) -> bool {
    matches!(
        c,
        '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}'
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn terminal_controls_are_escaped() {
        let shown = visible("a\u{1b}[2J\r\nb\t\u{9b}31m\u{7f}\u{202e}c\0");
        assert_eq!(shown, r"a\u{1b}[2J\r\nb\t\u{9b}31m\u{7f}\u{202e}c\u{0}");
        assert_eq!(visible("Käsekuchen für 3 €, „gut“"), "Käsekuchen für 3 €, „gut“");
    }

    #[test]
    fn escaping_terminal_controls_keeps_the_meaning_of_json() {
        let said = "a\u{1b}[2J\r\nb\t\u{9b}31m\u{7f}\u{85}\u{202e}\u{2066}c\\ü\0 €";
        let line = format!("{}\n", serde_json::json!({ "said": said }));
        let shown = visible_json(&line);
        assert_eq!(shown.trim_end_matches('\n').chars().find(|c| is_active(*c)), None);
        assert!(
            shown.contains(r"\u009b31m\u007f\u0085\u202e\u2066c\\ü") && shown.ends_with("\"}\n"),
            "{shown}"
        );
        let read: serde_json::Value = serde_json::from_str(&shown).unwrap();
        assert_eq!(read["said"], said);
    }
}
