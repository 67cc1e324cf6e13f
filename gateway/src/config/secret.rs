//! Secrets and the keys that lead to them.
//!
//! A secret `K` is never in the file itself, which people copy into tickets and repositories. It comes from a file
//! (`K_file`), the environment (`K_env`) or systemd (`K_credential`), and from one of them only.

use std::path::PathBuf;

use secrecy::SecretString;

use super::section::{At, Section};
use super::surroundings::Surroundings;

/// The keys of one secret.
pub struct SecretKeys {
    /// What the error texts call it, and the key that it must not have.
    pub name: &'static str,
    pub file: &'static str,
    pub env: &'static str,
    pub credential: &'static str,
}

/// The keys of the secret `$name`: `token` has `token_file`, `token_env` and `token_credential`.
macro_rules! secret_keys {
    ($name:literal) => {
        $crate::config::secret::SecretKeys {
            name: $name,
            file: concat!($name, "_file"),
            env: concat!($name, "_env"),
            credential: concat!($name, "_credential"),
        }
    };
}
pub(super) use secret_keys;

/// What a secret may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// Visible ASCII without spaces: what a bearer token is made of.
    Token,
    /// One line of anything.
    Line,
    /// Lines, such as a key in PEM.
    Lines,
}

/// The secret, and where the file refers to it. None: it is missing, or there is a fault, which is noted.
pub fn optional(
    section: &mut Section<'_, '_>,
    keys: &SecretKeys,
    form: Form,
    around: &dyn Surroundings,
) -> Option<At<SecretString>> {
    if let Some(span) = section.take_invalid(keys.name) {
        let SecretKeys { file, env, credential, .. } = keys;
        let message = format!("a secret must not be in this file: use {file}, {env} or {credential}");
        section.fault(keys.name, &span, message);
    }
    let found = [keys.file, keys.env, keys.credential].map(|key| section.string(key).map(|at| (key, at)));
    let mut found = found.into_iter().flatten();
    let (key, At { value: reference, span }) = found.next()?;
    if let Some((other, at)) = found.next() {
        section.fault(other, &at.span, format_args!("{key} names this secret already: keep one of them"));
        return None;
    }
    let (text, what) = if key == keys.file {
        let path = around.resolve(&reference);
        (around.secret_file(&path), path.display().to_string())
    } else if key == keys.env {
        let missing = || Err("is not set".to_owned());
        (around.variable(&reference).unwrap_or_else(missing), format!("environment variable {reference}"))
    } else {
        (around.credential(&reference), format!("credential {reference:?}"))
    };
    match text.and_then(|text| checked(text, form)) {
        Ok(value) => Some(At { value, span }),
        Err(message) => {
            section.fault(key, &span, format_args!("{what} {message}"));
            None
        }
    }
}

/// The same; a missing secret is a fault.
pub fn required(
    section: &mut Section<'_, '_>,
    keys: &SecretKeys,
    form: Form,
    around: &dyn Surroundings,
) -> Option<At<SecretString>> {
    let SecretKeys { name, file, env, credential } = *keys;
    if ![name, file, env, credential].iter().any(|key| section.has(key)) {
        section.fault_here(name, format_args!("missing: one of {file}, {env} and {credential}"));
    }
    optional(section, keys, form, around)
}

/// A text that may be secret, such as a client id: written as it is, or as a secret.
pub fn text(section: &mut Section<'_, '_>, keys: &SecretKeys, around: &dyn Surroundings) -> Option<At<String>> {
    use secrecy::ExposeSecret;
    let SecretKeys { name, file, env, credential } = *keys;
    let others = [file, env, credential].into_iter().find(|key| section.has(key));
    let inline = section.string(name);
    match (inline, others) {
        (Some(_), Some(other)) => {
            section.fault_here(other, format_args!("{name} is given already: keep one of them"));
            optional(section, keys, Form::Line, around);
            None
        }
        (Some(at), None) => {
            // Makes the other keys known to the section.
            optional(section, keys, Form::Line, around);
            let message = checked(at.value.clone(), Form::Line).err();
            message.map(|message| section.fault(name, &at.span, message)).is_none().then_some(at)
        }
        (None, _) => {
            let secret = optional(section, keys, Form::Line, around)?;
            Some(At { value: secret.value.expose_secret().to_owned(), span: secret.span })
        }
    }
}

/// The path of a secret that the gateway itself rewrites.
pub fn rewritten_file(section: &mut Section<'_, '_>, key: &'static str, around: &dyn Surroundings) -> Option<PathBuf> {
    let At { value, span } = section.string(key)?;
    let path = around.resolve(&value);
    let content = around.secret_file(&path).and_then(|text| checked(text, Form::Line));
    match content.and_then(|_| around.writable(&path)) {
        Ok(()) => Some(path),
        Err(message) => {
            section.fault(key, &span, format_args!("{} {message}", path.display()));
            None
        }
    }
}

/// Takes off the line end that editors add, and looks at the rest.
fn checked(text: String, form: Form) -> Result<SecretString, String> {
    let line = text.strip_suffix('\n').map_or(text.as_str(), |line| line.strip_suffix('\r').unwrap_or(line));
    if line.trim().is_empty() {
        return Err("is empty".into());
    }
    match form {
        Form::Token if line.contains('\n') => return Err("has more than one line".into()),
        Form::Token if !line.bytes().all(|byte| byte.is_ascii_graphic()) => {
            return Err("must hold visible ASCII characters and no spaces".into());
        }
        Form::Line if line.contains('\n') => return Err("has more than one line".into()),
        Form::Line if line.chars().any(char::is_control) => return Err("holds a control character".into()),
        Form::Token | Form::Line | Form::Lines => {}
    }
    Ok(SecretString::from(line))
}
