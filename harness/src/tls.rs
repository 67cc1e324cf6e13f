//! Certificates for tests: one that is valid, and one for each way to be invalid.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    KeyUsagePurpose, date_time_ymd,
};
use rustls::ServerConfig;
use rustls::crypto::ring;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};

/// The flaw of a server's certificate, if any.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// For localhost, 127.0.0.1 and ::1, from the authority in the file, in date.
    Valid,
    /// It has expired.
    Expired,
    /// It is for `other.example`.
    OtherHost,
    /// It comes from another authority with the same name.
    UnknownAuthority,
}

/// An authority and the files that it has written to a directory.
#[derive(Debug)]
pub struct Tls {
    dir: PathBuf,
    known: CertifiedIssuer<'static, KeyPair>,
    unknown: CertifiedIssuer<'static, KeyPair>,
}

impl Tls {
    /// Writes to `dir`, which a Postgres server must be able to read: see [`Server::scratch`](crate::Server::scratch).
    pub fn in_directory(dir: &Path) -> Tls {
        let tls = Tls { dir: dir.to_path_buf(), known: authority(), unknown: authority() };
        write(&tls.ca_file(), &tls.known.pem());
        tls
    }

    /// The authority's certificate, for the server option `ca_file`.
    pub fn ca_file(&self) -> PathBuf {
        self.dir.join("ca.pem")
    }

    /// Files with a certificate and its key, as the sandbox takes them.
    pub fn files(&self, kind: Kind) -> (PathBuf, PathBuf) {
        let (certificate, key) = self.sign(kind);
        let file = |suffix: &str| self.dir.join(format!("{kind:?}{suffix}.pem").to_lowercase());
        let (certificate_file, key_file) = (file(""), file("-key"));
        write(&certificate_file, &certificate.pem());
        write(&key_file, &key.serialize_pem());
        (certificate_file, key_file)
    }

    /// A server's side for [`RawServer::tls`](crate::RawServer::tls).
    pub fn server(&self, kind: Kind) -> Arc<ServerConfig> {
        let (certificate, key) = self.sign(kind);
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .and_then(|config| config.with_no_client_auth().with_single_cert(vec![certificate.der().clone()], key));
        Arc::new(config.unwrap_or_else(|e| panic!("{kind:?}: {e}")))
    }

    fn sign(&self, kind: Kind) -> (rcgen::Certificate, KeyPair) {
        let names: &[&str] = match kind {
            Kind::OtherHost => &["other.example"],
            _ => &["localhost", "127.0.0.1", "::1"],
        };
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut params = CertificateParams::new(names).unwrap_or_else(|e| panic!("{kind:?}: {e}"));
        params.distinguished_name.push(DnType::CommonName, "a server of a test");
        params.extended_key_usages.push(ExtendedKeyUsagePurpose::ServerAuth);
        params.use_authority_key_identifier_extension = true;
        params.not_before = date_time_ymd(2020, 1, 1);
        params.not_after = if kind == Kind::Expired { date_time_ymd(2021, 1, 1) } else { date_time_ymd(2100, 1, 1) };
        let key = KeyPair::generate().unwrap_or_else(|e| panic!("{kind:?}: {e}"));
        let issuer = if kind == Kind::UnknownAuthority { &self.unknown } else { &self.known };
        let certificate = params.signed_by(&key, issuer).unwrap_or_else(|e| panic!("{kind:?}: {e}"));
        (certificate, key)
    }
}

fn authority() -> CertifiedIssuer<'static, KeyPair> {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.distinguished_name.push(DnType::CommonName, "an authority of a test");
    params.key_usages.extend([KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign]);
    let made = KeyPair::generate().and_then(|key| CertifiedIssuer::self_signed(params, key));
    made.unwrap_or_else(|e| panic!("no authority: {e}"))
}

fn write(path: &Path, text: &str) {
    fs::write(path, text).unwrap_or_else(|e| panic!("{path:?}: {e}"));
}
