//! Tokens that can be found again, and the spellings in which a piece of one could appear.

use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD;

/// The longest token that is allowed.
const LONGEST: usize = 8192;

/// A token, and the marks that no text has by chance. A long enough piece of the token holds at least one of them.
pub struct MarkedToken {
    pub token: String,
    marks: [&'static str; 2],
}

impl MarkedToken {
    /// A short one, with characters that JSON, HTML, SQL, urls and COPY write in their own ways.
    pub fn odd(marks: [&'static str; 2]) -> MarkedToken {
        MarkedToken { token: [marks[0], "/+\"\\%&<'=", marks[1]].concat(), marks }
    }

    /// The longest possible.
    pub fn long(marks: [&'static str; 2]) -> MarkedToken {
        let mut token = format!("{}/{}+", marks[0], marks[1]).repeat(LONGEST / 16);
        token.truncate(LONGEST);
        MarkedToken { token, marks }
    }

    /// All that is searched for.
    pub fn spellings(&self) -> Vec<String> {
        self.marks.iter().flat_map(|mark| spellings(mark)).collect()
    }
}

/// How `mark` may be written. It has letters and digits alone.
fn spellings(mark: &str) -> Vec<String> {
    let each = |write: &dyn Fn(u8) -> String| mark.bytes().map(write).collect::<Vec<_>>();
    let mut all = vec![
        mark.to_owned(),
        mark.to_lowercase(),
        mark.to_uppercase(),
        mark.chars().rev().collect(),
        each(&|byte| format!("{byte:02x}")).concat(),
        each(&|byte| format!("{byte:02X}")).concat(),
        each(&|byte| format!("%{byte:02x}")).concat(),
        each(&|byte| format!("%{byte:02X}")).concat(),
        each(&|byte| format!("\\x{byte:02x}")).concat(),
        each(&|byte| format!("\\u{byte:04x}")).concat(),
        each(&|byte| format!("\\u{byte:04X}")).concat(),
        each(&|byte| format!("\\{byte:o}")).concat(),
        each(&|byte| format!("&#{byte};")).concat(),
        each(&|byte| format!("&#x{byte:x};")).concat(),
        each(&|byte| byte.to_string()).join(" "),
        each(&|byte| byte.to_string()).join(","),
        each(&|byte| byte.to_string()).join(", "),
    ];
    all.extend((0..3).map(|shift| in_base64(mark, shift)));
    all
}

/// The base64 form of `mark` after a number of bytes that leaves `shift`, modulo three. Digits that it shares with
/// neighbouring bytes are left out.
fn in_base64(mark: &str, shift: usize) -> String {
    let bytes = [&[0; 3][..shift], mark.as_bytes()].concat();
    let digits = STANDARD_NO_PAD.encode(&bytes);
    let (first, end) = ((shift * 8).div_ceil(6), bytes.len() * 8 / 6);
    digits[first..end].to_owned()
}

#[test]
fn marks_are_found_in_base64_wherever_they_stand() {
    for before in 0..6 {
        let text = STANDARD_NO_PAD.encode(format!("{}Fq7Xw3ZkPd2txyz", "x".repeat(before)));
        let found = (0..3).filter(|shift| text.contains(&in_base64("Fq7Xw3ZkPd2t", *shift))).count();
        assert_eq!(found, 1, "{text}");
    }
}
