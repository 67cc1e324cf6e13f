//! The records to send, and the replies that the API would give, both made beforehand.

/// `data` of a small contact, some 130 bytes: one typical record.
pub const SMALL: &str = r#"{"Email": "paul@arrakis.org", "FirstName": "Paul", "LastName": "Atreides", "Score": 7.50,
    "Title": "Duke", "HasOptedOutOfEmail": false}"#;

/// `data` of contact number `i`; as an element of `records` it makes about 400 bytes.
fn data(i: usize) -> String {
    format!(
        r#"{{"Email": "paul.{i:06}@arrakis.org", "FirstName": "Paul", "LastName": "Atreides {i:06}", "Title": "Duke of Arrakis", "Phone": "+1 555 {i:06}", "MailingStreet": "{i} Palace Road", "MailingCity": "Arrakeen", "MailingCountry": "Canopus", "Score": {i}.50, "HasOptedOutOfEmail": false, "Description": "The sleeper must awaken; \"fear\" is the mind-killer, no. {i:06}\nand a second line of it"}}"#
    )
}

/// The argument `records` of a create of this many.
pub fn records(count: usize) -> String {
    let records: Vec<String> = (0..count).map(|i| format!(r#"{{"data": {}}}"#, data(i))).collect();
    format!("[{}]", records.join(", "))
}

/// The reply to it: every field of a record in the contract, about 700 bytes a record.
pub fn reply(count: usize) -> String {
    reply_of((0..count).map(|i| (i, data(i))))
}

/// The reply to a request with [`SMALL`].
pub fn small_reply() -> String {
    reply_of([(0, SMALL.to_owned())])
}

fn reply_of(records: impl IntoIterator<Item = (usize, String)>) -> String {
    let records: Vec<String> = records.into_iter().map(|(i, data)| reply_record(i, &data)).collect();
    format!(r#"{{"records":[{}]}}"#, records.join(","))
}

fn reply_record(i: usize, data: &str) -> String {
    format!(
        r#"{{"id":"70a313f8-7c94-43d4-8d0c-{i:012}","sync_id":"bench","collection_id":"salesforce:contact","upstream_id":"003{i:015}","upstream_created_at":"2024-11-10T18:39:00.070453Z","upstream_updated_at":"2024-11-10T18:39:00.070453Z","inserted_at":"2024-11-10T18:39:01.123456Z","updated_idx":{},"data":{data},"deleted":false,"provider":"salesforce"}}"#,
        7_000_000_000 + i
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The sizes that the goals refer to.
    #[test]
    fn records_have_the_sizes_that_are_claimed() {
        let sent = records(1000).len() / 1000;
        assert!((380..=460).contains(&sent), "{sent}");
        let returned = reply(1000).len() / 1000;
        assert!((680..=820).contains(&returned), "{returned}");
    }
}
