//! Makes text that comes from spans harmless and short enough for a terminal.
//!
//! Names come from outside. In a terminal, control characters move the cursor, change colours or the title; marks for the
//! direction of writing turn what follows around; zero-width characters hide text or pile up. Here each such character
//! becomes one visible stand-in, and what does not fit is cut off.

use unicode_width::UnicodeWidthChar;

/// Stands for a character that is not shown.
const STAND_IN: char = '\u{fffd}';

/// Combining marks that may follow one character: enough for every language, too few to pile up.
const MAX_MARKS: usize = 3;

/// Text that is safe to write, with the columns that it takes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Shown {
    pub(crate) text: String,
    pub(crate) width: usize,
}

/// The start of `text` that fits into `width` columns, with an ellipsis if there is more.
pub(crate) fn shown(text: &str, width: usize) -> Shown {
    let mut shown = Shown { text: String::new(), width: 0 };
    let (mut marks, mut fits) = (0, 0);
    for c in text.chars() {
        let c = harmless_char(c);
        let columns = c.width().unwrap_or(0);
        marks = if columns == 0 { marks + 1 } else { 0 };
        if marks > MAX_MARKS {
            continue;
        }
        if shown.width + columns > width {
            // Back to where the ellipsis fits.
            let keep = shown.text.char_indices().nth(fits).map_or(shown.text.len(), |(at, _)| at);
            shown.text.truncate(keep);
            shown.width = columns_of(&shown.text);
            if width > 0 {
                shown.text.push('…');
                shown.width += 1;
            }
            return shown;
        }
        shown.text.push(c);
        shown.width += columns;
        if shown.width < width {
            fits = shown.text.chars().count();
        }
    }
    shown
}

/// As `shown`, filled up with spaces to exactly `width` columns.
pub(crate) fn padded(text: &str, width: usize) -> String {
    let mut shown = shown(text, width);
    shown.text.extend(std::iter::repeat_n(' ', width - shown.width));
    shown.text
}

fn columns_of(text: &str) -> usize {
    text.chars().map(|c| c.width().unwrap_or(0)).sum()
}

/// Text that is safe to write, as long as it is.
pub(crate) fn harmless(text: &str) -> String {
    text.chars().map(harmless_char).collect()
}

/// The same of several lines.
pub(crate) fn harmless_lines(text: &str) -> String {
    text.lines().map(harmless).collect::<Vec<_>>().join("\n")
}

fn harmless_char(c: char) -> char {
    match c {
        '\n' | '\r' | '\t' | '\u{2028}' | '\u{2029}' => ' ',
        c if c.is_control() => STAND_IN,
        // Direction of writing.
        '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => STAND_IN,
        // Invisible: soft hyphen, fillers, zero width, format controls, interlinear marks, tags.
        '\u{ad}' | '\u{115f}' | '\u{1160}' | '\u{180e}' | '\u{200b}'..='\u{200d}' | '\u{2060}'..='\u{2065}' => STAND_IN,
        '\u{206a}'..='\u{206f}' | '\u{3164}' | '\u{feff}' | '\u{ffa0}' | '\u{fff9}'..='\u{fffb}' => STAND_IN,
        '\u{e0000}'..='\u{e0fff}' => STAND_IN,
        c => c,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(text: &str, width: usize) -> String {
        let shown = shown(text, width);
        assert!(shown.width <= width && shown.width == columns_of(&shown.text), "{shown:?}");
        shown.text
    }

    #[test]
    fn what_fits_stays_and_what_does_not_is_cut_with_an_ellipsis() {
        assert_eq!(text("GET /orders", 11), "GET /orders");
        assert_eq!(text("GET /orders", 10), "GET /orde…");
        assert_eq!([text("ab", 1), text("ab", 0), text("", 5)], ["…", "", ""]);
    }

    #[test]
    fn wide_characters_count_twice() {
        assert_eq!(text("注文の確認", 10), "注文の確認");
        assert_eq!(text("注文の確認", 9), "注文の確…");
        assert_eq!(text("注文の確認", 8), "注文の…");
        assert_eq!(padded("注文", 6), "注文  ");
        assert_eq!(padded("注文", 2), "… ");
    }

    #[test]
    fn nothing_that_steers_a_terminal_gets_through() {
        assert_eq!(text("a\x1b[31mred\x07\u{9b}2J", 40), "a\u{fffd}[31mred\u{fffd}\u{fffd}2J");
        assert_eq!(text("two\r\nlines\tand a tab", 40), "two  lines and a tab");
        assert_eq!(
            text("user\u{202e}gpj.exe\u{2066}\u{200b}\u{feff}\u{e0041}", 40),
            "user\u{fffd}gpj.exe\u{fffd}\u{fffd}\u{fffd}\u{fffd}"
        );
    }

    #[test]
    fn marks_do_not_pile_up() {
        let zalgo = format!("e{}x", "\u{301}".repeat(1_000));
        assert_eq!(text(&zalgo, 10), format!("e{}x", "\u{301}".repeat(MAX_MARKS)));
    }

    #[test]
    fn a_megabyte_takes_no_more_than_its_columns() {
        assert_eq!(text(&"x".repeat(1 << 20), 20).chars().count(), 20);
        assert!(text(&"\u{301}".repeat(1 << 20), 20).len() < 20);
    }
}
