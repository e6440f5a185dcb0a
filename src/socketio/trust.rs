//! Whom to trust: the system's certificates and those of `ca_file`, for both of the TLS users.

use native_tls::TlsConnector;

use crate::causes::{about_time, describe};
use crate::clock::since_1970;
use crate::room::SignalingFailure;

/// Why a server was not reached. Of a certificate whose time is wrong it says what to do.
pub(super) fn why(error: &dyn std::error::Error) -> String {
    let error = describe(error);
    about_time(&error, since_1970()).unwrap_or(error)
}

/// The certificates of a PEM file, one by one; neither library reads several at once from memory.
fn certificates(pem: &[u8]) -> impl Iterator<Item = &[u8]> {
    const END: &[u8] = b"-----END CERTIFICATE-----";
    let mut rest = pem;
    std::iter::from_fn(move || {
        let end = rest.windows(END.len()).position(|window| window == END)? + END.len();
        let (one, tail) = rest.split_at(end);
        rest = tail;
        Some(one)
    })
}

fn refused(reason: &str) -> SignalingFailure {
    SignalingFailure::Refused {
        message: format!(
            "the certificates of [signaling] ca_file cannot be used: {reason}; give PEM certificates"
        ),
        needs_operator: true,
    }
}

/// For the WebSocket.
pub(super) fn connector(ca: Option<&[u8]>) -> Result<TlsConnector, SignalingFailure> {
    let mut builder = TlsConnector::builder();
    builder.min_protocol_version(Some(native_tls::Protocol::Tlsv12));
    for pem in authorities(ca)? {
        builder.add_root_certificate(
            native_tls::Certificate::from_pem(pem).map_err(|error| refused(&error.to_string()))?,
        );
    }
    builder.build().map_err(|error| refused(&error.to_string()))
}

/// For REST. Without TLS the system's certificates, which take some 50 ms to load, stay where they are.
pub(super) fn trusting(
    mut builder: reqwest::ClientBuilder,
    secure: bool,
    ca: Option<&[u8]>,
) -> Result<reqwest::ClientBuilder, SignalingFailure> {
    if !secure {
        return Ok(builder.tls_built_in_root_certs(false));
    }
    builder = builder.min_tls_version(reqwest::tls::Version::TLS_1_2);
    for pem in authorities(ca)? {
        builder = builder.add_root_certificate(
            reqwest::Certificate::from_pem(pem).map_err(|error| refused(&error.to_string()))?,
        );
    }
    Ok(builder)
}

fn authorities(ca: Option<&[u8]>) -> Result<Vec<&[u8]>, SignalingFailure> {
    let Some(pem) = ca else {
        return Ok(Vec::new());
    };
    let found: Vec<_> = certificates(pem).collect();
    if found.is_empty() {
        return Err(refused("it holds no certificate"));
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn several_certificates_in_one_file_are_taken_apart() {
        let pem = b"# mine\n-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n-----BEGIN CERTIFICATE-----\nBBBB\n-----END CERTIFICATE-----\n";
        let found: Vec<_> = certificates(pem).collect();
        assert_eq!(found.len(), 2);
        assert!(found[0].windows(4).any(|window| window == b"AAAA"));
        assert!(found[1].windows(4).any(|window| window == b"BBBB"));
    }

    #[test]
    fn a_file_without_a_usable_certificate_needs_the_operator() {
        for pem in [
            &b""[..],
            b"hello",
            b"-----BEGIN CERTIFICATE-----\n!!\n-----END CERTIFICATE-----",
        ] {
            let Err(SignalingFailure::Refused {
                message,
                needs_operator: true,
            }) = connector(Some(pem))
            else {
                panic!("accepted {pem:?}");
            };
            assert!(message.contains("ca_file"), "{message}");
            assert!(trusting(reqwest::Client::builder(), true, Some(pem)).is_err());
        }
    }
}
