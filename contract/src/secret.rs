//! A bearer token that cannot be shown by mistake.

/// A token as it stands after `Bearer `. It has neither Display nor Debug: no error value that holds one can print it.
#[derive(Clone)]
pub struct Secret(String);

/// Why a text cannot be a token. It does not repeat the text.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotAToken {
    #[error("the token is empty")]
    Empty,
    #[error("the token has a character that is not printable ASCII")]
    Character,
    #[error("the token is longer than {MAX_BYTES} bytes")]
    TooLong,
}

/// HTTP servers commonly refuse a header line of more than 8 KiB.
pub const MAX_BYTES: usize = 8 * 1024;

impl Secret {
    /// Takes a token of printable ASCII: anything else could end the header line and begin another (RFC 9110, 5.5), or
    /// is a file of the wrong kind.
    pub fn new(token: &str) -> Result<Secret, NotAToken> {
        match token {
            "" => Err(NotAToken::Empty),
            long if long.len() > MAX_BYTES => Err(NotAToken::TooLong),
            token if token.bytes().all(|byte| byte.is_ascii_graphic()) => Ok(Secret(token.to_owned())),
            _ => Err(NotAToken::Character),
        }
    }

    /// The token itself, for the request header and for removing it from what the API says.
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
    fn what_could_break_out_of_the_header_is_not() {
        let cases = [
            ("", NotAToken::Empty),
            ("a b", NotAToken::Character),
            ("a\r\nx-admin: 1", NotAToken::Character),
            ("a\tb", NotAToken::Character),
            ("a\u{7f}", NotAToken::Character),
            ("a\0", NotAToken::Character),
            ("gehéim", NotAToken::Character),
            (&"a".repeat(MAX_BYTES + 1), NotAToken::TooLong),
        ];
        for (token, expected) in cases {
            assert_eq!(Secret::new(token).err(), Some(expected));
        }
    }
}
