//! The certificate with which the gateway serves https, and authorities that it trusts.

use std::sync::Arc;

use rustls::ServerConfig;
use rustls::crypto::ring;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

use super::section::{At, Section};
use super::surroundings::Surroundings;

/// `tls = { cert_file, key_file }`, loaded: a key that does not belong to the certificate is a fault of the file, and
/// not of the first connection.
pub fn read(mut section: Section<'_, '_>, around: &dyn Surroundings) -> Option<Arc<ServerConfig>> {
    let cert_file = section.required("cert_file", |section| section.string("cert_file"));
    let key_file = section.required("key_file", |section| section.string("key_file"));
    let chain = cert_file.as_ref().and_then(|at| noted(&section, "cert_file", at, certificates(&at.value, around)));
    let key = key_file.as_ref().and_then(|at| noted(&section, "key_file", at, private_key(&at.value, around)));
    let config = chain.zip(key).zip(key_file).and_then(|((chain, key), at)| {
        let config = server_config(chain, key).map_err(|error| format!("does not fit cert_file: {error}"));
        noted(&section, "key_file", &at, config)
    });
    section.finish();
    config.map(Arc::new)
}

/// The certificates in a PEM file, at least one.
///
/// # Errors
/// The file cannot be read, or holds anything else.
pub fn certificates(path: &str, around: &dyn Surroundings) -> Result<Vec<CertificateDer<'static>>, String> {
    let path = around.resolve(path);
    let named = |message: String| format!("{} {message}", path.display());
    let pem = around.public_file(&path).map_err(named)?;
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
    match chain {
        Ok(chain) if !chain.is_empty() => Ok(chain),
        _ => Err(named("holds no certificates in PEM".into())),
    }
}

fn private_key(path: &str, around: &dyn Surroundings) -> Result<PrivateKeyDer<'static>, String> {
    let path = around.resolve(path);
    let named = |message: String| format!("{} {message}", path.display());
    let pem = around.secret_file(&path).map_err(named)?;
    PrivateKeyDer::from_pem_slice(pem.as_bytes()).map_err(|_| named("holds no private key in PEM".into()))
}

fn server_config(
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
) -> Result<ServerConfig, rustls::Error> {
    let builder = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()));
    let mut config =
        builder.with_safe_default_protocol_versions()?.with_no_client_auth().with_single_cert(chain, key)?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(config)
}

fn noted<T>(section: &Section<'_, '_>, key: &str, at: &At<String>, result: Result<T, String>) -> Option<T> {
    result.map_err(|message| section.fault(key, &at.span, message)).ok()
}
