//! The content type of a request. A body of another type is refused before it is read as JSON: a form or a text that
//! happens to parse was not meant for this API.

use http::HeaderMap;
use http::header::CONTENT_TYPE;

/// Whether the headers say `application/json`, with any parameters.
pub fn is_json(headers: &HeaderMap) -> bool {
    let value = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let essence = value.and_then(|value| value.split(';').next());
    essence.is_some_and(|essence| essence.trim().eq_ignore_ascii_case("application/json"))
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn parameters_and_case_do_not_count() {
        for (value, is) in [
            ("application/json", true),
            ("Application/JSON ; charset=utf-8", true),
            ("application/json-patch+json", false),
            ("text/plain; x=application/json", false),
            ("", false),
        ] {
            let headers = HeaderMap::from_iter([(CONTENT_TYPE, HeaderValue::from_static(value))]);
            assert_eq!(is_json(&headers), is, "{value:?}");
        }
        assert!(!is_json(&HeaderMap::new()));
    }
}
