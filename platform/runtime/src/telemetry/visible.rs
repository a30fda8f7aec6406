//! Text of others, for a terminal.

use std::fmt::Write;

/// The text with everything escaped that a terminal would obey, or that would make it look like other text than it is: control
/// characters, ends of lines among them, and marks of the direction of writing.
pub fn visible(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        if is_obeyed(c) {
            shown.extend(c.escape_default());
        } else {
            shown.push(c);
        }
    }
    shown
}

/// The same for a line of JSON, as other JSON of the same meaning: these characters can be nowhere but in its strings. JSON
/// itself wants no more than the first 32 of them escaped.
pub(super) fn visible_json(line: &str) -> String {
    let mut shown = String::with_capacity(line.len());
    for c in line.chars() {
        if c != '\n' && is_obeyed(c) {
            // Writing to a string does not fail. None of them is beyond what four digits tell.
            let _ = write!(shown, "\\u{:04x}", u32::from(c));
        } else {
            shown.push(c);
        }
    }
    shown
}

fn is_obeyed(c: char) -> bool {
    c.is_control() || is_deceptive(c)
}

/// Separators of lines and paragraphs, and marks that turn the order of what follows.
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
    fn nothing_is_left_that_a_terminal_obeys() {
        let shown = visible("a\u{1b}[2J\r\nb\t\u{9b}31m\u{7f}\u{202e}c\0");
        assert_eq!(shown, r"a\u{1b}[2J\r\nb\t\u{9b}31m\u{7f}\u{202e}c\u{0}");
        assert_eq!(visible("Käsekuchen für 3 €, „gut“"), "Käsekuchen für 3 €, „gut“");
    }

    #[test]
    fn a_line_of_json_means_the_same_without_anything_that_a_terminal_obeys() {
        let said = "a\u{1b}[2J\r\nb\t\u{9b}31m\u{7f}\u{85}\u{202e}\u{2066}c\\ü\0 €";
        let line = format!("{}\n", serde_json::json!({ "said": said }));
        let shown = visible_json(&line);
        assert_eq!(shown.trim_end_matches('\n').chars().find(|c| is_obeyed(*c)), None);
        assert!(
            shown.contains(r"\u009b31m\u007f\u0085\u202e\u2066c\\ü") && shown.ends_with("\"}\n"),
            "{shown}"
        );
        let read: serde_json::Value = serde_json::from_str(&shown).unwrap();
        assert_eq!(read["said"], said);
    }
}
