//! The record boundaries of a TLS stream (RFC 8446, section 5.1).
//!
//! rustls buffers an incomplete record where a transport cannot see it. A connection with such a rest must not be reused.

/// One byte of type, two of version, two of length.
const HEADER_BYTES: usize = 5;

/// The position of a stream within its current record.
#[derive(Default)]
pub struct TlsRecords {
    header: Vec<u8>,
    missing_content_bytes: usize,
}

impl TlsRecords {
    /// Advances by the bytes that were received.
    pub fn advance(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let is_content = self.missing_content_bytes > 0;
            let wanted = if is_content { self.missing_content_bytes } else { HEADER_BYTES - self.header.len() };
            let (part, rest) = bytes.split_at(wanted.min(bytes.len()));
            bytes = rest;
            if is_content {
                self.missing_content_bytes -= part.len();
                continue;
            }
            self.header.extend_from_slice(part);
            if let [_, _, _, high, low] = self.header[..] {
                self.missing_content_bytes = usize::from(u16::from_be_bytes([high, low]));
                self.header.clear();
            }
        }
    }

    /// Whether only complete records were received.
    pub fn is_at_boundary(&self) -> bool {
        self.header.is_empty() && self.missing_content_bytes == 0
    }
}
