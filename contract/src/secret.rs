//! A bearer token that no message can print by mistake.

/// A bearer token, without the prefix `Bearer `. It implements neither `Display` nor `Debug`, so an error value that holds
/// one cannot print it.
#[derive(Clone)]
pub struct Secret(String);

/// The reasons to refuse a text as a token. The error does not contain the text.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidToken {
    /// The text is empty.
    #[error("the token is empty")]
    Empty,
    /// A character is outside `!` to `~`.
    #[error("the token contains a character that is not printable ASCII")]
    Character,
    /// The text is longer than [`MAX_BYTES`].
    #[error("the token is longer than {MAX_BYTES} bytes")]
    TooLong,
}

/// The longest accepted token, in bytes. HTTP servers commonly refuse a header line of more than 8 KiB.
pub const MAX_BYTES: usize = 8 * 1024;

impl Secret {
    /// Accepts 1 to [`MAX_BYTES`] bytes of printable ASCII. A control character could end the header line and begin
    /// another one (RFC 9110, section 5.5). Other bytes usually mean that the token file is of the wrong kind.
    pub fn new(token: &str) -> Result<Secret, InvalidToken> {
        match token {
            "" => Err(InvalidToken::Empty),
            long if long.len() > MAX_BYTES => Err(InvalidToken::TooLong),
            token if token.bytes().all(|byte| byte.is_ascii_graphic()) => Ok(Secret(token.to_owned())),
            _ => Err(InvalidToken::Character),
        }
    }

    /// The token itself: for the request header, and to remove it from texts that the API returns.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn printable_ascii_is_a_token() {
        for token in ["x", "eyJhbGciOi.J9-_~+/=", &"a".repeat(MAX_BYTES)] {
            assert_eq!(Secret::new(token).ok().unwrap().expose(), token);
        }
    }

    #[test]
    fn a_text_that_could_end_the_header_line_is_refused() {
        let cases = [
            ("", InvalidToken::Empty),
            ("a b", InvalidToken::Character),
            ("a\r\nx-admin: 1", InvalidToken::Character),
            ("a\tb", InvalidToken::Character),
            ("a\u{7f}", InvalidToken::Character),
            ("a\0", InvalidToken::Character),
            ("gehéim", InvalidToken::Character),
            (&"a".repeat(MAX_BYTES + 1), InvalidToken::TooLong),
        ];
        for (token, expected) in cases {
            assert_eq!(Secret::new(token).err(), Some(expected));
        }
    }
}
