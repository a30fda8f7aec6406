//! Text of others, for a terminal.

/// The text with everything escaped that a terminal would obey, or that would make it look like other text than it is: control
/// characters, ends of lines among them, and marks of the direction of writing.
pub fn visible(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_control() || is_deceptive(c) {
            shown.extend(c.escape_default());
        } else {
            shown.push(c);
        }
    }
    shown
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
}
