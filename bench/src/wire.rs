//! The part of HTTP that a measurement needs: the end of a message's head, and the length of its body.

/// A message's head, once it is complete.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// Its length, the empty line included.
    pub bytes: usize,
    pub content_length: usize,
    /// The sender holds the body back until it gets a 100 Continue, as curl does with large ones.
    pub expects_continue: bool,
}

/// The head at the beginning of `input`, if it is complete.
pub fn head(input: &[u8]) -> Option<Head> {
    let bytes = input.windows(4).position(|end| end == b"\r\n\r\n")? + 4;
    let mut head = Head { bytes, content_length: 0, expects_continue: false };
    for line in input[..bytes].split(|byte| *byte == b'\n') {
        if let Some(length) = value(line, b"content-length:") {
            head.content_length = std::str::from_utf8(length).ok()?.trim().parse().ok()?;
        } else if value(line, b"expect:").is_some() {
            head.expects_continue = true;
        }
    }
    Some(head)
}

fn value<'a>(line: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    let (start, rest) = line.split_at_checked(name.len())?;
    start.eq_ignore_ascii_case(name).then_some(rest)
}

/// A whole 200 reply with this body.
pub fn reply(body: &str) -> Vec<u8> {
    let length = body.len();
    format!("HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n{body}").into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heads_are_found_when_they_are_whole() {
        let request = b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 12\r\nExpect: 100-continue\r\n\r\nbody";
        let bytes = request.len() - 4;
        assert_eq!(head(request), Some(Head { bytes, content_length: 12, expects_continue: true }));
        assert_eq!(head(&request[..bytes - 1]), None);
        assert_eq!(head(&reply("four")).map(|head| head.content_length), Some(4));
    }
}
