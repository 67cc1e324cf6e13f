//! The token of a request, and the tokens that a server knows.
//!
//! A server keeps digests, so no token is in its memory longer than a request. Digests of equal length are compared in
//! constant time, each known one in turn: the time of a refusal tells nothing about a token.

use http::HeaderMap;
use http::header::AUTHORIZATION;
use sha2::{Digest, Sha256};
use subtle::{Choice, ConditionallySelectable, ConstantTimeEq};

/// The token of `authorization: Bearer {token}`. None if the header is missing, repeated or of another form.
pub fn token(headers: &HeaderMap) -> Option<&str> {
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let (value, None) = (values.next()?, values.next()) else {
        return None;
    };
    let (scheme, token) = value.to_str().ok()?.split_once(' ')?;
    let token = token.trim_start_matches(' ');
    (scheme.eq_ignore_ascii_case("bearer") && !token.is_empty()).then_some(token)
}

/// Known tokens. Each stands for a holder: its name and its rights, or `()` where all holders are equal.
pub struct KnownTokens<H>(Vec<([u8; 32], H)>);

impl<H> KnownTokens<H> {
    /// Of two equal tokens the later one counts.
    pub fn new<T: AsRef<str>>(known: impl IntoIterator<Item = (T, H)>) -> KnownTokens<H> {
        KnownTokens(known.into_iter().map(|(token, holder)| (digest(token.as_ref()), holder)).collect())
    }

    /// The holder of the token in these headers. None: answer 401.
    pub fn holder(&self, headers: &HeaderMap) -> Option<&H> {
        let given = digest(token(headers)?);
        let (mut at, mut is_known) = (0_u64, Choice::from(0));
        for (index, (known, _)) in (0_u64..).zip(&self.0) {
            let same = known.ct_eq(&given);
            at.conditional_assign(&index, same);
            is_known |= same;
        }
        let at = usize::try_from(at).ok()?;
        self.0.get(at).filter(|_| bool::from(is_known)).map(|(_, holder)| holder)
    }
}

fn digest(token: &str) -> [u8; 32] {
    Sha256::digest(token.as_bytes()).into()
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn headers(values: &[&str]) -> HeaderMap {
        values.iter().map(|value| (AUTHORIZATION, HeaderValue::from_str(value).unwrap())).collect()
    }

    #[test]
    fn a_known_token_names_its_holder_and_no_other_passes() {
        let known = KnownTokens::new([("one", 1), ("two", 2), ("three", 3)]);
        for (values, holder) in [
            (["Bearer one"].as_slice(), Some(1)),
            (&["bearer two"], Some(2)),
            (&["BEARER   three"], Some(3)),
            (&["Bearer four"], None),
            (&["Bearer on"], None),
            (&["Bearer "], None),
            (&["Bearer"], None),
            (&["Basic one"], None),
            (&["one"], None),
            (&["Bearer one", "Bearer one"], None),
            (&[], None),
        ] {
            assert_eq!(known.holder(&headers(values)).copied(), holder, "{values:?}");
        }
        assert_eq!(KnownTokens::<()>::new::<&str>([]).holder(&headers(&["Bearer one"])), None);
    }
}
