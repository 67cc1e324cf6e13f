//! Ids that look like the provider's, made from the record's creation number: unique, and rising where the provider's
//! own rise. So a client that mistakes one format for another meets the real one here: an 18-character Salesforce id
//! cut to 15, a HubSpot id read as an integer.

const BASE62: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// The id that the provider of `collection_id` gives to its record number `number`.
pub fn upstream(collection_id: &str, number: u64) -> String {
    let (provider, collection) = collection_id.split_once(':').unwrap_or((collection_id, ""));
    match provider {
        "salesforce" => salesforce(collection, number),
        "hubspot" => number.to_string(),
        "stripe" => format!("{}_{}", stripe_prefix(collection), base62(scatter(number), 14)),
        "airtable" => format!("rec{}", base62(scatter(number), 14)),
        _ => uuid(number),
    }
}

/// Sequin's own id of a record: a UUID.
pub fn uuid(number: u64) -> String {
    let bits = u128::from(scatter(number)) << 64 | u128::from(scatter(!number));
    uuid::Builder::from_random_bytes(bits.to_be_bytes()).into_uuid().to_string()
}

/// Three characters for the object, twelve for the record, and three for a case-insensitive tool: one bit for each
/// upper-case letter.
fn salesforce(collection: &str, number: u64) -> String {
    let mut id = String::with_capacity(18);
    id.push_str(salesforce_prefix(collection));
    id.push_str("1U0");
    id.push_str(&base62(number, 9));
    for group in 0..3 {
        let bits = id.as_bytes()[group * 5..group * 5 + 5]
            .iter()
            .enumerate()
            .fold(0, |bits, (at, c)| bits | usize::from(c.is_ascii_uppercase()) << at);
        id.push(char::from(b"ABCDEFGHIJKLMNOPQRSTUVWXYZ012345"[bits]));
    }
    id
}

fn salesforce_prefix(collection: &str) -> &'static str {
    match collection {
        "account" => "001",
        "contact" => "003",
        "user" => "005",
        "opportunity" => "006",
        "lead" => "00Q",
        "task" => "00T",
        "event" => "00U",
        "case" => "500",
        "campaign" => "701",
        _ => "a00",
    }
}

fn stripe_prefix(collection: &str) -> &str {
    match collection {
        "customer" => "cus",
        "subscription" => "sub",
        "invoice" => "in",
        "product" => "prod",
        "charge" => "ch",
        other => other,
    }
}

fn base62(mut value: u64, width: usize) -> String {
    let mut digits = vec![b'0'; width];
    for digit in digits.iter_mut().rev() {
        *digit = BASE62[(value % 62) as usize];
        value /= 62;
    }
    String::from_utf8(digits).unwrap_or_default()
}

/// The finalizer of splitmix64: a bijection, so distinct numbers stay distinct.
fn scatter(number: u64) -> u64 {
    let mut z = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ z >> 31
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn salesforce_ids_have_eighteen_characters_and_a_true_suffix() {
        let id = upstream("salesforce:contact", 1_731_263_940_070_453);
        assert_eq!(id.len(), 18);
        assert!(id.starts_with("003"));
        // A known pair from Salesforce: 0031U00000Qn2ZV becomes 0031U00000Qn2ZVQAZ.
        let mut number = 0;
        for c in b"0000Qn2ZV" {
            number = number * 62 + BASE62.iter().position(|d| d == c).unwrap() as u64;
        }
        assert_eq!(salesforce("contact", number), "0031U00000Qn2ZVQAZ");
    }

    #[test]
    fn uuids_have_their_form() {
        let id = uuid(1);
        let lengths: Vec<_> = id.split('-').map(str::len).collect();
        assert_eq!(lengths, [8, 4, 4, 4, 12]);
        assert_eq!(&id[14..15], "4");
        assert!("89ab".contains(&id[19..20]), "{id}");
    }

    #[test]
    fn neighbours_differ_in_every_provider() {
        for collection in ["salesforce:task", "hubspot:deal", "stripe:customer", "airtable:x", "other:y"] {
            let ids: std::collections::HashSet<_> = (5_000..6_000).map(|n| upstream(collection, n)).collect();
            assert_eq!(ids.len(), 1_000, "{collection}");
        }
    }
}
