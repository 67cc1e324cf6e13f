//! Which authorities the client trusts.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;

#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    #[error("cannot read the authorities in {path}: {cause}")]
    File { path: PathBuf, cause: rustls_pki_types::pem::Error },
    #[error("there is no certificate in {0}")]
    Empty(PathBuf),
    #[error("a certificate in {path} is not valid: {cause}")]
    Certificate { path: PathBuf, cause: rustls::Error },
    #[error("TLS cannot be set up: {0}")]
    Setup(#[from] rustls::Error),
}

/// Whom to trust.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trust {
    /// None: there is no address with TLS.
    None,
    /// The authorities of the system. If it has none, each handshake fails and says that the issuer is unknown.
    Machine,
    /// Those of this PEM file only.
    File(PathBuf),
}

pub(super) fn config(trust: &Trust) -> Result<ClientConfig, TlsError> {
    let roots = match trust {
        Trust::None => RootCertStore::empty(),
        Trust::Machine => of_machine(),
        Trust::File(path) => of_file(path)?,
    };
    let ring = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(ring).with_safe_default_protocol_versions()?;
    Ok(config.with_root_certificates(roots).with_no_client_auth())
}

fn of_file(path: &Path) -> Result<RootCertStore, TlsError> {
    let unreadable = |cause| TlsError::File { path: path.into(), cause };
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(path).map_err(unreadable)? {
        let added = roots.add(certificate.map_err(unreadable)?);
        added.map_err(|cause| TlsError::Certificate { path: path.into(), cause })?;
    }
    match roots.is_empty() {
        true => Err(TlsError::Empty(path.into())),
        false => Ok(roots),
    }
}

fn of_machine() -> RootCertStore {
    let found = rustls_native_certs::load_native_certs();
    for error in &found.errors {
        tracing::warn!(%error, "an authority of this machine cannot be read");
    }
    let mut roots = RootCertStore::empty();
    let (_, ignored) = roots.add_parsable_certificates(found.certs);
    if ignored > 0 {
        tracing::debug!(ignored, "authorities of this machine that cannot be parsed");
    }
    roots
}
