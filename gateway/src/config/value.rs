//! Values that are strings in the file: durations, sizes, addresses, URLs, headers.
//!
//! Each function says what is wrong without quoting the text, because a text in the wrong place may be a secret.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use http::{HeaderName, HeaderValue};
use url::{Host, Url};

const LONGEST: Duration = Duration::from_secs(24 * 60 * 60);

/// `30s`, `1m 30s`: above zero, a day at most.
pub fn duration(text: &str) -> Result<Duration, String> {
    match humantime::parse_duration(text) {
        Ok(duration) if duration.is_zero() => Err("must be above zero".into()),
        Ok(duration) if duration > LONGEST => Err("must be at most 1day".into()),
        Ok(duration) => Ok(duration),
        Err(_) => Err("is no duration such as \"30s\" or \"1m 30s\"".into()),
    }
}

/// `16MiB`, `64kB`, `1000000`: bytes, above zero, 1GiB at most.
pub fn size(text: &str) -> Result<usize, String> {
    const UNITS: [(&str, usize); 8] = [
        ("", 1),
        ("B", 1),
        ("kB", 1_000),
        ("MB", 1_000_000),
        ("GB", 1_000_000_000),
        ("KiB", 1 << 10),
        ("MiB", 1 << 20),
        ("GiB", 1 << 30),
    ];
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let unit = UNITS.iter().find(|(name, _)| *name == unit.trim_start()).map(|(_, factor)| *factor);
    let bytes = number.parse::<usize>().ok().zip(unit).and_then(|(number, unit)| number.checked_mul(unit));
    match bytes {
        None => Err("is no size such as \"16MiB\"; the units are B, kB, MB, GB, KiB, MiB and GiB".into()),
        Some(bytes) if !(1..=1 << 30).contains(&bytes) => Err("must be from 1B to 1GiB".into()),
        Some(bytes) => Ok(bytes),
    }
}

/// `127.0.0.1:7460`, `[::]:7460`.
pub fn address(text: &str) -> Result<SocketAddr, String> {
    text.parse().map_err(|_| "is no address such as \"127.0.0.1:7460\" or \"[::1]:7460\"".into())
}

/// Whether two listeners with these addresses exclude each other. Port 0 is a different port each time.
pub fn addresses_collide(one: SocketAddr, other: SocketAddr) -> bool {
    let same_ip = one.ip() == other.ip() || one.ip().is_unspecified() || other.ip().is_unspecified();
    same_ip && one.port() == other.port() && one.port() != 0
}

/// The base of a provider's addresses, or a token endpoint. A slash at its end goes, except that of an empty path.
///
/// Credentials travel to it: http leads to this machine only, unless `allow_http`.
pub fn web_url(text: &str, allow_http: bool) -> Result<Url, String> {
    let mut url = Url::parse(text).map_err(|error| format!("is no URL: {error}"))?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err("must begin with https:// or http://".into());
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err("must not hold a user or a password: use auth".into());
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err("must not have a query or a fragment".into());
    }
    if url.scheme() == "http" && !allow_http && !is_loopback(&url) {
        return Err("would send the credential unencrypted: use https://, or set allow_http = true".into());
    }
    let path = url.path().trim_end_matches('/').to_owned();
    url.set_path(&path);
    Ok(url)
}

fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(ip)) => IpAddr::V4(ip).is_loopback(),
        Some(Host::Ipv6(ip)) => IpAddr::V6(ip).is_loopback(),
        None => false,
    }
}

/// The name of a header that a configuration may set: not one that the gateway or HTTP itself owns.
pub fn header_name(text: &str) -> Result<HeaderName, String> {
    const RESERVED: [&str; 12] = [
        "accept-encoding",
        "connection",
        "content-encoding",
        "content-length",
        "content-type",
        "expect",
        "host",
        "idempotency-key",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    ];
    let name = HeaderName::try_from(text).map_err(|_| "is no name of a header".to_owned())?;
    if RESERVED.contains(&name.as_str()) { Err("is a header that the gateway sets itself".into()) } else { Ok(name) }
}

pub fn header_value(text: &str) -> Result<HeaderValue, String> {
    HeaderValue::try_from(text).map_err(|_| "holds characters that a header cannot carry".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_and_sizes_have_units_and_limits() {
        assert_eq!(duration("1m 30s"), Ok(Duration::from_secs(90)));
        assert_eq!(duration("250ms"), Ok(Duration::from_millis(250)));
        for wrong in ["0s", "25h", "30", "s", "-1s", ""] {
            assert!(duration(wrong).is_err(), "{wrong:?}");
        }
        for (text, bytes) in [("16MiB", 16 << 20), ("64 kB", 64_000), ("7", 7), ("1GiB", 1 << 30)] {
            assert_eq!(size(text), Ok(bytes), "{text:?}");
        }
        for wrong in ["0", "2GiB", "1.5MiB", "16mib", "MiB", "-1", "99999999999999999999", "9999999999999GiB", ""] {
            assert!(size(wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn a_url_leads_to_one_server_and_carries_nothing_else() {
        for (text, url) in [
            ("https://api.stripe.com", "https://api.stripe.com/"),
            ("https://x.example/v1/", "https://x.example/v1"),
            ("http://127.0.0.1:80/a//", "http://127.0.0.1/a"),
            ("http://[::1]:8080", "http://[::1]:8080/"),
            ("http://localhost:1/v1", "http://localhost:1/v1"),
        ] {
            assert_eq!(web_url(text, false).as_ref().map(Url::as_str), Ok(url));
        }
        for wrong in [
            "api.stripe.com",
            "ftp://x.example",
            "https://u@x.example",
            "https://u:p@x.example",
            "https://:p@x.example",
            "https://x.example?a=b",
            "https://x.example#a",
            "http://x.example",
            "http://127.0.0.1.example",
            "http://localhost.example",
            "https://",
            "file:///etc/passwd",
        ] {
            assert!(web_url(wrong, false).is_err(), "{wrong}");
        }
        assert!(web_url("http://x.example", true).is_ok());
    }

    #[test]
    fn listeners_collide_on_one_port_of_one_address() {
        let collide = |one: &str, other: &str| addresses_collide(one.parse().unwrap(), other.parse().unwrap());
        assert!(collide("127.0.0.1:1", "127.0.0.1:1") && collide("0.0.0.0:1", "127.0.0.1:1"));
        assert!(!collide("127.0.0.1:1", "127.0.0.1:2") && !collide("127.0.0.1:1", "127.0.0.2:1"));
        assert!(!collide("127.0.0.1:0", "127.0.0.1:0"));
    }
}
