//! TLS: the certificate a person gave, or one the hub makes for itself and keeps.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rcgen::{
    CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, KeyPair, KeyUsagePurpose,
};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::ring::default_provider;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};

use super::HubError;
use super::files;

const CERTIFICATE: &str = "hub-cert.pem";
const KEY: &str = "hub-cert.key";
const DAY: Duration = Duration::from_secs(24 * 3600);
/// Apple's systems take no certificate of a longer life (support article 103769: 825 days).
const LIFE: Duration = DAY.saturating_mul(824);
/// A box is restarted more often than that, and those who pinned the certificate are to hear of the new one early.
const RENEWAL: Duration = DAY.saturating_mul(30);
/// How a line of ours before the certificate begins: what it is for, so that nothing has to take it apart to know.
/// Programs that read PEM pass over such lines (RFC 7468 section 2).
const NOTE: &str = "huddled hub until ";

/// Something to accept TLS with, and the certificates as PEM.
pub(super) struct Identity {
    pub(super) acceptor: TlsAcceptor,
    pub(super) pem: String,
}

/// From the PEM text of a certificate chain and its key.
pub(super) fn given(pem: &[u8]) -> Result<Identity, HubError> {
    identity(pem, pem, "the file of [hub] tls")
}

/// The certificate kept in this folder, or a new one if it lacks one of the names or is about to expire.
pub(super) fn self_signed(
    directory: &Path,
    names: &BTreeSet<String>,
) -> Result<Identity, HubError> {
    let (certificate, key) = (directory.join(CERTIFICATE), directory.join(KEY));
    let what = certificate.display().to_string();
    let now = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    if let (Some(secret), Ok(public)) = (
        files::read_secret(&key)?,
        std::fs::read_to_string(&certificate),
    ) && is_good(&public, names, now)
    {
        match identity(public.as_bytes(), &secret, &what) {
            Ok(identity) => return Ok(identity),
            Err(error) => log::warn!("{error}; a new one is made"),
        }
    }
    let (public, secret) = make(names, now).map_err(|error| HubError::Certificate {
        what: what.clone(),
        reason: error.to_string(),
    })?;
    // The key first: a certificate without its key would be taken for good, and one of another key is noticed.
    files::write(&key, secret.as_bytes(), files::SECRET)?;
    files::write(&certificate, public.as_bytes(), files::PUBLIC)?;
    log::info!("made {what}: whoever trusted the one before must be given this one");
    identity(public.as_bytes(), secret.as_bytes(), &what)
}

/// Whether a certificate of ours still serves.
fn is_good(public: &str, names: &BTreeSet<String>, now: Duration) -> bool {
    let note = public
        .lines()
        .next()
        .and_then(|line| line.strip_prefix(NOTE));
    let Some((until, kept)) = note.and_then(|note| note.split_once(": ")) else {
        return false;
    };
    let kept: BTreeSet<_> = kept.split(' ').collect();
    until
        .parse()
        .is_ok_and(|until| Duration::from_secs(until) > now + RENEWAL)
        && names.iter().all(|name| kept.contains(name.as_str()))
}

/// A certificate and its key as PEM.
fn make(names: &BTreeSet<String>, now: Duration) -> Result<(String, String), rcgen::Error> {
    let names: Vec<_> = names.iter().cloned().collect();
    let note = names.join(" ");
    let mut wanted = CertificateParams::new(names)?;
    let mut name = DistinguishedName::new();
    name.push(DnType::CommonName, "huddled hub");
    wanted.distinguished_name = name;
    wanted.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    wanted.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    let epoch = rcgen::date_time_ymd(1970, 1, 1);
    // Clients' clocks differ.
    wanted.not_before = epoch + now.saturating_sub(DAY);
    let until = now + LIFE;
    wanted.not_after = epoch + until;
    let key = KeyPair::generate()?;
    let certificate = wanted.self_signed(&key)?;
    let public = format!("{NOTE}{}: {note}\n{}", until.as_secs(), certificate.pem());
    Ok((public, key.serialize_pem()))
}

fn identity(public: &[u8], secret: &[u8], what: &str) -> Result<Identity, HubError> {
    let bad = |reason: String| HubError::Certificate {
        what: what.to_owned(),
        reason,
    };
    let chain: Vec<_> = CertificateDer::pem_slice_iter(public)
        .collect::<Result<_, _>>()
        .map_err(|error| bad(error.to_string()))?;
    if chain.is_empty() {
        return Err(bad("it holds no certificate".to_owned()));
    }
    let key = PrivateKeyDer::from_pem_slice(secret)
        .map_err(|error| bad(format!("its private key: {error}")))?;
    let mut config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| bad(error.to_string()))?
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .map_err(|error| bad(error.to_string()))?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Identity {
        acceptor: TlsAcceptor::from(Arc::new(config)),
        pem: certificates(public),
    })
}

/// The certificates of a PEM text, without notes and keys.
fn certificates(pem: &[u8]) -> String {
    const BEGIN: &str = "-----BEGIN CERTIFICATE-----";
    const END: &str = "-----END CERTIFICATE-----";
    let mut inside = false;
    let mut text = String::new();
    for line in String::from_utf8_lossy(pem).lines().map(str::trim_end) {
        inside |= line == BEGIN;
        if inside {
            text.push_str(line);
            text.push('\n');
        }
        inside &= line != END;
    }
    text
}

/// What a certificate for this address must be good for.
pub(super) fn names(address: SocketAddr, host: Option<&str>) -> BTreeSet<String> {
    let mut names: BTreeSet<_> = ["localhost", "127.0.0.1", "::1"].map(str::to_owned).into();
    if address.ip().is_unspecified() {
        names.extend(own_addresses(address.ip()).iter().map(IpAddr::to_string));
    } else {
        names.insert(address.ip().to_string());
    }
    names.extend(host.map(str::to_owned));
    names
}

/// The addresses this machine has towards everybody else, found by asking where a datagram would go out. None is
/// sent; the targets are reserved for documentation (RFC 5737, RFC 3849).
pub(super) fn own_addresses(unspecified: IpAddr) -> Vec<IpAddr> {
    const V4: (&str, &str) = ("0.0.0.0:0", "192.0.2.1:9");
    const V6: (&str, &str) = ("[::]:0", "[2001:db8::1]:9");
    // An IPv6 listener takes IPv4 as well (Linux, ipv6(7): bindv6only is off).
    let families: &[_] = if unspecified.is_ipv4() {
        &[V4]
    } else {
        &[V4, V6]
    };
    families
        .iter()
        .filter_map(|(from, towards)| {
            let socket = UdpSocket::bind(from).ok()?;
            socket.connect(towards).ok()?;
            Some(socket.local_addr().ok()?.ip())
        })
        .filter(|address| !address.is_unspecified() && !address.is_loopback())
        .collect()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;

    use super::*;
    use crate::hub::files::tests::Folder;

    fn local() -> BTreeSet<String> {
        names("127.0.0.1:8443".parse().unwrap(), None)
    }

    #[test]
    fn a_certificate_is_kept_until_it_lacks_a_name_or_its_time_is_near() {
        let folder = Folder::new("certificate");
        let first = self_signed(folder.path(), &local()).unwrap().pem;
        assert_eq!(self_signed(folder.path(), &local()).unwrap().pem, first);
        let mode = std::fs::metadata(folder.path().join(KEY)).unwrap().mode();
        assert_eq!(mode & 0o777, 0o600);

        let more = names("192.0.2.7:8443".parse().unwrap(), Some("hub.example.org"));
        let second = self_signed(folder.path(), &more).unwrap().pem;
        assert_ne!(second, first);
        // The narrower need is met by the wider one.
        assert_eq!(self_signed(folder.path(), &local()).unwrap().pem, second);

        let note = std::fs::read_to_string(folder.path().join(CERTIFICATE)).unwrap();
        let now = SystemTime::now()
            .duration_since(SystemTime::UNIX_EPOCH)
            .unwrap();
        assert!(is_good(&note, &more, now + LIFE - RENEWAL - DAY));
        assert!(!is_good(&note, &more, now + LIFE - RENEWAL + DAY));
    }

    #[test]
    fn a_certificate_of_another_key_is_made_anew() {
        let folder = Folder::new("mismatch");
        let first = self_signed(folder.path(), &local()).unwrap().pem;
        let (_, other) = make(&local(), Duration::from_secs(1_700_000_000)).unwrap();
        std::fs::write(folder.path().join(KEY), other).unwrap();
        assert_ne!(self_signed(folder.path(), &local()).unwrap().pem, first);
    }

    #[test]
    fn a_given_chain_and_key_are_taken_from_one_text_and_the_key_stays_out_of_the_certificate() {
        let (public, secret) = make(&local(), Duration::from_secs(1_700_000_000)).unwrap();
        let identity = given(format!("{secret}{public}").as_bytes()).unwrap();
        assert!(!identity.pem.contains("PRIVATE"));
        assert!(identity.pem.starts_with("-----BEGIN CERTIFICATE-----"));
        for (pem, words) in [
            (public.as_bytes(), "private key"),
            (secret.as_bytes(), "no certificate"),
            (b"hello", "no certificate"),
        ] {
            let Err(error) = given(pem) else {
                panic!("taken");
            };
            let error = error.to_string();
            assert!(
                error.contains("[hub] tls") && error.contains(words),
                "{error}"
            );
        }
    }
}
