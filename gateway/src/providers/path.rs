//! Ids as parts of a path. An id cannot leave its place: it is one segment, or it is refused.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use super::{Refusal, json};

/// All but the unreserved characters of RFC 3986.
const RESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// An id, percent-encoded.
///
/// # Errors
/// The id is empty, too long, or has a control character. Or it has `.` or `..` between slashes: a server that decodes
/// before it routes would take another path.
pub fn segment(id: &str) -> Result<String, Refusal> {
    if !json::valid_id(id) {
        return Err(Refusal::new("an id in the path must have 1 to 1024 bytes and no control character"));
    }
    if id.split(['/', '\\']).any(is_dots) {
        return Err(Refusal::new("an id in the path must not have the part . or .."));
    }
    Ok(utf8_percent_encode(id, RESERVED).to_string())
}

/// Whether a segment of a URL's path means the same or the parent folder. Parsers of URLs decode it first.
pub fn is_dots(segment: &str) -> bool {
    let decoded = segment.replace("%2e", ".").replace("%2E", ".");
    decoded == "." || decoded == ".."
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_stays_one_segment() {
        for (id, want) in [
            ("cus_RfIicOKc1UqLHJ", Some("cus_RfIicOKc1UqLHJ")),
            ("a-b.c_d~e", Some("a-b.c_d~e")),
            ("a/b", Some("a%2Fb")),
            ("a\\b", Some("a%5Cb")),
            ("a?b#c&d=e+f g%h", Some("a%3Fb%23c%26d%3De%2Bf%20g%25h")),
            ("é", Some("%C3%A9")),
            ("...", Some("...")),
            ("%2e%2e", None),
            (".", None),
            ("..", None),
            ("../admin", None),
            ("a/../b", None),
            ("a\\..\\b", None),
            ("a/.", None),
            ("", None),
            ("a\0", None),
            ("a\r\nb", None),
        ] {
            assert_eq!(segment(id).ok().as_deref(), want, "{id:?}");
        }
    }

    #[test]
    fn a_url_with_any_id_keeps_its_segments() {
        for id in ["..a", "a..", "...", "a/b", "%2f", " ", ";", "@", ":", "a%2e"] {
            let url = url::Url::parse(&format!("https://h/v1/x/{}/y", segment(id).unwrap())).unwrap();
            assert_eq!(url.path_segments().unwrap().count(), 4, "{id}");
        }
    }
}
