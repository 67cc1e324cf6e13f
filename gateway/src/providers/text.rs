//! Words of a provider, made fit for an error text: one line of at most [`MAX_MESSAGE`] characters that cannot steer a
//! terminal, end its own quotes, or show a secret.

use super::redact::Redactor;

/// The longest message, in characters.
pub const MAX_MESSAGE: usize = 1_000;

/// The message that is left of `said`. Empty if nothing is.
pub fn message(said: &str) -> String {
    // More than this cannot matter, and a reply can be long.
    let start = said.char_indices().nth(8 * MAX_MESSAGE).map_or(said, |(end, _)| &said[..end]);
    let line = one_line(&Redactor::default().text(start));
    match line.char_indices().nth(MAX_MESSAGE) {
        None => line,
        Some(_) => line.chars().take(MAX_MESSAGE - 1).chain(['…']).collect(),
    }
}

/// Without control characters and others that cannot be seen. White space is one space, a backquote is an apostrophe.
fn one_line(said: &str) -> String {
    let mut line = String::with_capacity(said.len());
    for character in said.chars() {
        match character {
            _ if character.is_whitespace() => {
                if !line.is_empty() && !line.ends_with(' ') {
                    line.push(' ');
                }
            }
            '`' => line.push('\''),
            _ if is_hidden(character) => {}
            _ => line.push(character),
        }
    }
    line.truncate(line.trim_end().len());
    line
}

/// Whether a character changes how others are shown, or cannot be seen itself.
fn is_hidden(character: char) -> bool {
    character.is_control()
        || matches!(character,
            '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_message_is_one_plain_line() {
        for (said, want) in [
            ("Invalid email", "Invalid email"),
            ("  a \r\n\t b  ", "a b"),
            ("use `x` here", "use 'x' here"),
            ("a\0b\u{1b}[31mc\u{7f}", "ab[31mc"),
            ("a\u{202e}b\u{2066}c\u{200f}d\u{61c}e", "abcde"),
            ("a\u{2028}b\u{85}c\u{a0}d", "a b c d"),
            ("zero\u{200b}width\u{feff}", "zerowidth"),
            ("é 漢字 🦀", "é 漢字 🦀"),
            ("a \u{202e} b", "a b"),
            (" \u{0} ", ""),
            ("", ""),
        ] {
            assert_eq!(message(said), want, "{said:?}");
        }
    }

    #[test]
    fn a_long_message_ends_with_an_ellipsis() {
        assert_eq!(message(&"é".repeat(1_000)), "é".repeat(1_000));
        assert_eq!(message(&"é".repeat(1_001)), "é".repeat(999) + "…");
        assert_eq!(message(&"a ".repeat(5_000_000)).chars().count(), 1_000);
    }

    proptest! {
        #[test]
        fn any_text_becomes_a_message(said in "\\PC*|.*|[\\s`\u{200b}a]*") {
            let message = message(&said);
            prop_assert!(message.chars().count() <= MAX_MESSAGE);
            prop_assert!(!message.chars().any(|c| c == '`' || is_hidden(c)));
            prop_assert_eq!(message.trim(), &message);
            prop_assert!(!message.contains("  "));
        }
    }
}
