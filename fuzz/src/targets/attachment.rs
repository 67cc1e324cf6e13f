//! Input: the first byte is whether the database is in UTF-8, the rest is the argument of a trigger.
//!
//! - A displayable argument is an object that jsonb can hold: it has no NUL, and in another encoding no escape beyond ASCII.
//! - An argument that sequin_attach writes is displayable in each encoding.

use serde_json::Value;

use contract::attachment::{Attachment, is_displayable};

pub fn run(bytes: &[u8]) {
    let Some((flag, argument)) = bytes.split_first() else { return };
    let is_utf8 = flag & 1 == 1;
    if is_displayable(argument, is_utf8) {
        let ascii: String = argument.iter().map(|&byte| if byte < 0x80 { char::from(byte) } else { '?' }).collect();
        let value: Value = serde_json::from_str(&ascii).expect("it is JSON");
        assert!(value["sync_id"].is_string() && value["upstream_id_column"].is_string(), "{ascii}");
        assert!(escapes(&ascii).iter().all(|escape| escape != "0000"), "{ascii}");
        assert!(is_utf8 || escapes(&ascii).iter().all(|escape| escape[..] < *"0080"), "{ascii}");
    }
    if let Ok(attachment) = Attachment::from_argument(&String::from_utf8_lossy(argument)) {
        let written = attachment.to_argument();
        assert_eq!(Attachment::from_argument(&written), Ok(attachment));
        let has_nul = escapes(&written).iter().any(|escape| escape == "0000");
        for is_utf8 in [true, false] {
            assert_eq!(is_displayable(written.as_bytes(), is_utf8), !has_nul, "{written}");
        }
    }
}

/// The four digits of each `\uXXXX`.
fn escapes(json: &str) -> Vec<String> {
    let without_pairs = json.replace(r"\\", "");
    without_pairs.split(r"\u").skip(1).map(|rest| rest.chars().take(4).collect()).collect()
}
