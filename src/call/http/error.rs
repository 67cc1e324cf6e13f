//! Failures of the steps below ureq, which carries them through its own error type.

use ureq::Timeout;

use crate::pg::interrupt::Interrupted;
use crate::pg::wait::Unready;

#[derive(Debug, thiserror::Error)]
pub enum TransportError {
    #[error("timed out")]
    TimedOut,
    #[error("{0}")]
    Failed(String),
    #[error(transparent)]
    Interrupted(#[from] Interrupted),
}

impl From<Unready> for TransportError {
    fn from(unready: Unready) -> Self {
        match unready {
            Unready::TimedOut => TransportError::TimedOut,
            Unready::Interrupted(interrupted) => TransportError::Interrupted(interrupted),
        }
    }
}

impl From<TransportError> for ureq::Error {
    fn from(error: TransportError) -> Self {
        match error {
            TransportError::TimedOut => ureq::Error::Timeout(Timeout::Global),
            other => ureq::Error::Other(Box::new(other)),
        }
    }
}

/// `error` in the words of a network: without ureq's "other error: ".
pub fn describe(error: &ureq::Error) -> String {
    match error {
        ureq::Error::Timeout(_) => "timed out".to_owned(),
        ureq::Error::Other(inner) => inner.to_string(),
        ureq::Error::Io(inner) => inner.to_string(),
        other => other.to_string(),
    }
}
