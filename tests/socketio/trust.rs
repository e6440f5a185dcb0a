//! Certificates: an own authority is trusted when it is configured, and only then.

use std::path::Path;
use std::process::Command;

use super::*;

fn openssl(folder: &Path, arguments: &[&str]) {
    let output = Command::new("openssl")
        .args(arguments)
        .current_dir(folder)
        .output()
        .expect("openssl is needed for this test: run `make setup`");
    assert!(output.status.success(), "{output:?}");
}

#[tokio::test]
async fn an_own_authority_is_trusted_for_rest_and_socket_alike() {
    let folder = std::env::temp_dir().join(format!("huddled-trust-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let new = [
        "req",
        "-x509",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:P-256",
        "-nodes",
        "-days",
        "2",
    ];
    let with = |more: &[&'static str]| [&new[..], more].concat();
    openssl(
        &folder,
        &with(&[
            "-keyout",
            "ca.key",
            "-out",
            "ca.pem",
            "-subj",
            "/CN=Test authority",
        ]),
    );
    openssl(
        &folder,
        &with(&[
            "-keyout",
            "other.key",
            "-out",
            "other.pem",
            "-subj",
            "/CN=Another",
        ]),
    );
    openssl(
        &folder,
        &with(&[
            "-keyout",
            "server.key",
            "-out",
            "server.pem",
            "-subj",
            "/CN=127.0.0.1",
            "-CA",
            "ca.pem",
            "-CAkey",
            "ca.key",
            "-addext",
            "subjectAltName=IP:127.0.0.1",
            "-addext",
            "basicConstraints=critical,CA:FALSE",
        ]),
    );
    let path = |name: &str| folder.join(name).to_str().unwrap().to_owned();
    let gateway = Gateway::start(&[
        "--tls-cert",
        &path("server.pem"),
        "--tls-key",
        &path("server.key"),
    ]);

    let [ca, other] = ["ca.pem", "other.pem"].map(|name| std::fs::read(folder.join(name)).unwrap());
    let both = [&other[..], &ca[..]].concat();
    Member::joined(Access {
        ca: Some(both),
        ..account(&gateway)
    })
    .await;

    for (ca, anonymous) in [(None, false), (None, true), (Some(other), true)] {
        let mut member = Member::new();
        let login = account(&gateway).login.filter(|_| !anonymous);
        let access = Access {
            login,
            ca,
            ..plain(&gateway.url())
        };
        member.client.open(ONE, Ok(access));
        let failure = member.failure(ONE).await;
        println!("{failure:?}");
        assert_unreachable(&failure);
        assert!(
            format!("{failure:?}").contains("certificate"),
            "{failure:?}"
        );
    }
    std::fs::remove_dir_all(&folder).unwrap();
}

/// What a box sees whose clock starts before the certificate's time.
#[tokio::test]
async fn a_certificate_of_later_years_is_told_as_a_wrong_clock() {
    let folder = std::env::temp_dir().join(format!("huddled-clock-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let key = rcgen::KeyPair::generate().unwrap();
    let mut wanted = rcgen::CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
    wanted.not_before = rcgen::date_time_ymd(2101, 1, 1);
    wanted.not_after = rcgen::date_time_ymd(2102, 1, 1);
    let certificate = wanted.self_signed(&key).unwrap().pem();
    let path = |name: &str| folder.join(name).to_str().unwrap().to_owned();
    std::fs::write(path("server.pem"), &certificate).unwrap();
    std::fs::write(path("server.key"), key.serialize_pem()).unwrap();
    let gateway = Gateway::start(&[
        "--tls-cert",
        &path("server.pem"),
        "--tls-key",
        &path("server.key"),
    ]);
    for login in [account(&gateway).login, None] {
        let mut member = Member::new();
        let access = Access {
            login,
            ca: Some(certificate.clone().into_bytes()),
            ..plain(&gateway.url())
        };
        member.client.open(ONE, Ok(access));
        let failure = member.failure(ONE).await;
        assert_unreachable(&failure);
        assert!(
            format!("{failure:?}").contains("the clock of this box is most likely wrong"),
            "{failure:?}"
        );
    }
    std::fs::remove_dir_all(&folder).unwrap();
}
