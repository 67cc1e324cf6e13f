//! The certificate authorities that a server's certificate is checked against: the system's, or those of one file.
//!
//! Roots compiled into the library would be as old as the build, and would ignore the authorities that the administrator
//! of the system trusts.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use ureq::tls::{Certificate, PemItem, RootCerts, parse_pem};

/// The PEM files in which Linux distributions keep all authorities.
const SYSTEM_FILES: &[&str] = &[
    // Debian, Ubuntu, Alpine, Arch, Gentoo
    "/etc/ssl/certs/ca-certificates.crt",
    // Fedora, RHEL
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    // SUSE
    "/etc/ssl/ca-bundle.pem",
];

/// The certificates in `ca_file`, or else in the system's file. The error names the file.
pub fn load(ca_file: Option<&Path>) -> Result<RootCerts, String> {
    let file = match ca_file {
        Some(file) => file,
        None => SYSTEM_FILES
            .iter()
            .map(Path::new)
            .find(|file| file.exists())
            .ok_or("the system has no file of certificate authorities")?,
    };
    let pem =
        fs::read(file).map_err(|error| format!("could not read the certificates in {}: {error}", file.display()))?;
    let certificates: Vec<Certificate<'static>> = parse_pem(&pem)
        .filter_map(|item| match item {
            Ok(PemItem::Certificate(certificate)) => Some(Ok(certificate)),
            Ok(_) => None,
            Err(error) => Some(Err(error)),
        })
        .collect::<Result<_, _>>()
        .map_err(|error| format!("{} is not a file of certificates: {error}", file.display()))?;
    if certificates.is_empty() {
        return Err(format!("{} holds no certificate", file.display()));
    }
    Ok(RootCerts::Specific(Arc::new(certificates)))
}
