//! Where the records of a TLS stream begin and end (RFC 8446, 5.1). What has come of one that is not whole yet waits in
//! rustls, where nobody can look.

/// The type, two bytes of version, two of length.
const HEADER_BYTES: usize = 5;

/// How far the stream has come in its current record.
#[derive(Default)]
pub struct TlsRecords {
    header: Vec<u8>,
    /// Of the record's content.
    missing: usize,
}

impl TlsRecords {
    /// Goes on by what has come.
    pub fn follow(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let wanted = if self.missing > 0 { self.missing } else { HEADER_BYTES - self.header.len() };
            let (part, rest) = bytes.split_at(wanted.min(bytes.len()));
            bytes = rest;
            if self.missing > 0 {
                self.missing -= part.len();
                continue;
            }
            self.header.extend_from_slice(part);
            if let [_, _, _, high, low] = self.header[..] {
                self.missing = usize::from(u16::from_be_bytes([high, low]));
                self.header.clear();
            }
        }
    }

    /// Whether all that has come is whole records.
    pub fn is_between(&self) -> bool {
        self.header.is_empty() && self.missing == 0
    }
}
