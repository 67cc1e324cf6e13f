//! Input: options of a user mapping, `name=value`, separated by NUL, which no text of Postgres contains.
//!
//! - A token is accepted if and only if it can be sent unchanged in a header line. No message repeats it.
//! - The path of a token file leads below the directory that it is joined to.

use std::path::{Component, Path};

use http::HeaderValue;

use contract::options::{self, OptionError, TokenOption};
use contract::secret::{MAX_BYTES, Secret};

pub fn run(bytes: &[u8]) {
    let given = super::options::given(bytes);
    let count = |name: &str| given.iter().filter(|(other, _)| other == name).count();
    let of = |name: &str| given.iter().rev().find(|(other, _)| other == name).map(|(_, value)| value.as_str());
    for (name, value) in &given {
        if name == "token" {
            is_judged_rightly(value);
        }
    }
    match options::read_user_mapping(&given) {
        Ok(TokenOption::Inline(secret)) => {
            assert_eq!((Some(secret.expose()), count("token_file")), (of("token"), 0));
        }
        Ok(TokenOption::File(path)) => {
            assert_eq!((path.to_str(), count("token")), (of("token_file"), 0));
            let base = Path::new("/etc/secrets");
            let joined = base.join(&path);
            assert!(joined.starts_with(base) && joined != base, "{path:?}");
            assert!(path.components().all(|part| matches!(part, Component::Normal(name) if name != "..")), "{path:?}");
        }
        Err(error) => {
            let said = format!("{error} {error:?} {:?}", error.hint());
            // The messages have no `~` of their own.
            let secrets = given.iter().filter(|(name, value)| name == "token" && value.contains('~'));
            for (_, secret) in secrets {
                let names: String = given.iter().map(|(name, _)| name.as_str()).collect();
                assert!(names.contains(secret) || !said.contains(secret), "{said}");
            }
            if matches!(error, OptionError::NotOneToken) {
                assert_ne!(count("token").min(1) + count("token_file").min(1), 1);
            }
        }
    }
}

fn is_judged_rightly(token: &str) {
    let is_legal = (1..=MAX_BYTES).contains(&token.len()) && token.bytes().all(|byte| (0x21..=0x7e).contains(&byte));
    let secret = Secret::new(token);
    assert_eq!(secret.is_ok(), is_legal, "{token:?}");
    if let Ok(secret) = secret {
        let header = HeaderValue::from_str(&format!("Bearer {}", secret.expose())).expect("a header's value");
        assert_eq!(header.to_str().ok().and_then(|line| line.strip_prefix("Bearer ")), Some(token));
    }
}
