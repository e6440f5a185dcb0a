//! Who gets in: tokens, names, origins, addresses.

use std::os::unix::fs::PermissionsExt;

use huddled::config::HubAccess;
use serde_json::json;
use tokio::net::TcpStream;

use super::raw::{Raw, upgrade};
use super::*;

const JOIN: &str = "public-meetings/main/join";

#[tokio::test]
async fn a_link_gives_a_new_user_and_a_members_token_the_same_one_again() {
    let mut hub = Running::start(|_| {}).await;
    let (status, answer) = hub.rest("POST", JOIN, link_token(&hub.guest_link)).await;
    assert_eq!(status, 201);
    assert_eq!(answer["role"], "participant");
    assert_eq!(answer["meetingId"], MEETING);
    assert_eq!(answer["is_online"], true);
    assert_eq!(
        answer["iceServers"],
        json!([{"urls": ["turn:192.0.2.1:3478"], "username": "u", "credential": "turn-secret"}])
    );
    let user = answer["userId"].as_str().unwrap();
    assert_eq!(user.len(), 36);
    assert_eq!(answer["id"], format!("row-{user}"));
    let (again, token) = hub
        .join_by(&format!("#&token={}", answer["token"].as_str().unwrap()))
        .await;
    assert_eq!(
        (&*again, &*token.0),
        (user, answer["token"].as_str().unwrap())
    );
    let (other, _) = hub.join_by(&hub.guest_link).await;
    assert_ne!(other, user);
    let (status, answer) = hub
        .rest(
            "POST",
            "classrooms/1/meetings/main/join",
            link_token(&hub.host_link),
        )
        .await;
    assert_eq!((status, &answer["role"]), (201, &json!("host")));
    hub.stop().await;
}

#[tokio::test]
async fn no_door_opens_without_a_token_of_its_own() {
    let mut hub = Running::start(|_| {}).await;
    let guest = link_token(&hub.guest_link);
    for (path, token, status) in [
        (JOIN, None, 401),
        (JOIN, Some("nonsense"), 401),
        ("public-meetings/other/join", guest, 401),
        ("public-meetings/none/join", guest, 404),
        ("public-meetings/main/leave", guest, 404),
        ("auth/login", None, 404),
        ("anything", guest, 404),
    ] {
        let (found, answer) = hub.rest("POST", path, token).await;
        assert_eq!(found, status, "{path}: {answer}");
        assert_eq!(answer["statusCode"], status);
        assert!(
            answer["message"].is_string() && answer["code"].is_string(),
            "{answer}"
        );
    }
    let (_, answer) = hub.rest("POST", "auth/login", None).await;
    assert!(
        answer["message"]
            .as_str()
            .unwrap()
            .starts_with("Cannot POST"),
        "{answer}"
    );
    assert_eq!(
        hub.rest("GET", "public-meetings/main/participants", None)
            .await
            .0,
        401
    );

    for (auth, words) in [
        (json!({}), "join over REST"),
        (
            json!({"userId": "a", "meetingId": MEETING}),
            "join over REST",
        ),
        (json!({"token": guest}), "token of a link"),
        (json!({"token": "nonsense"}), "none of this hub's"),
        (json!({"token": hub.token("a").0, "userId": "b"}), "userId"),
        (
            json!({"token": hub.token("a").0, "meetingId": "other"}),
            "meetingId",
        ),
    ] {
        let (code, message) = Raw::connect(&hub, auth).await.refused().await;
        assert_eq!(code, "unauthorized");
        assert!(
            message.starts_with("Authentication required") && message.contains(words),
            "{message}"
        );
    }
    hub.stop().await;
}

#[tokio::test]
async fn tokens_cannot_be_tried_fast() {
    let mut hub = Running::start(|_| {}).await;
    let mut statuses = Vec::new();
    for number in 0..30 {
        statuses.push(hub.rest("POST", JOIN, Some(&format!("a.{number}"))).await.0);
    }
    assert_eq!(statuses[..10], [401; 10]);
    // One more may be tried every six seconds, so how many were depends on the machine.
    assert!(statuses[10..].contains(&429), "{statuses:?}");
    let mut codes = Vec::new();
    for _ in 0..5 {
        codes.push(
            Raw::connect(&hub, json!({"token": "a.b"}))
                .await
                .refused()
                .await
                .0,
        );
    }
    assert!(codes.iter().any(|code| code == "busy"), "{codes:?}");
    hub.stop().await;
}

#[tokio::test]
async fn wrong_tokens_keep_no_right_one_of_their_address_out() {
    let mut hub = Running::start(|_| {}).await;
    for number in 0..40 {
        hub.rest("POST", JOIN, Some(&format!("a.{number}"))).await;
        let mut joins = vec![hub.guest_link.clone()];
        joins.extend((number == 39).then(|| hub.host_link.clone()));
        for link in joins {
            let (user, token) = hub.join_by(&link).await;
            if number % 10 == 9 {
                let mut member = Raw::with(&hub, &token).await;
                member.join(&user).await;
                member.until("meeting:joined").await;
            }
        }
    }
    Raw::joined(&hub, "a").await;
    hub.stop().await;
}

#[tokio::test]
async fn an_open_hub_asks_for_nothing_and_still_knows_a_wrong_token() {
    let mut hub = Running::start(|options| options.settings.access = HubAccess::Open).await;
    assert_eq!(link_token(&hub.guest_link), None);
    assert!(link_token(&hub.host_link).is_some());
    let (user, token) = hub.join_by(&hub.guest_link).await;
    let mut guest = Raw::with(&hub, &token).await;
    guest.join(&user).await;
    guest.until("meeting:joined").await;
    assert_eq!(hub.rest("POST", JOIN, Some("nonsense")).await.0, 401);
    let (code, _) = Raw::connect(
        &hub,
        json!({"token": "nonsense", "userId": "a", "meetingId": MEETING}),
    )
    .await
    .refused()
    .await;
    assert_eq!(code, "unauthorized");
    let (code, _) = Raw::connect(&hub, json!({"userId": "a", "meetingId": "none"}))
        .await
        .refused()
        .await;
    assert_eq!(code, "unknown-meeting");
    let (code, _) = Raw::connect(&hub, json!({"userId": "a\n", "meetingId": MEETING}))
        .await
        .refused()
        .await;
    assert_eq!(code, "unauthorized");
    hub.stop().await;
}

#[tokio::test]
async fn a_foreign_page_reaches_neither_page_nor_interface_nor_socket() {
    let mut hub = Running::start(|_| {}).await;
    let address = hub.address;
    let own = format!("Host: {address}\r\n");
    for (headers, status) in [
        (own.clone(), 101),
        (format!("{own}Origin: http://{address}\r\n"), 101),
        (format!("{own}Origin: https://evil.example\r\n"), 403),
        (format!("{own}Origin: null\r\n"), 403),
        ("Host: evil.example\r\n".to_owned(), 403),
        (String::new(), 403),
    ] {
        let mut stream = TcpStream::connect(address).await.unwrap();
        let head = upgrade(&mut stream, "", &headers).await;
        assert!(
            head.starts_with(&format!("HTTP/1.1 {status}")),
            "{headers}: {head}"
        );
        assert!(!head.to_lowercase().contains("access-control"), "{head}");
    }
    for path in [
        "",
        "api/v1/public-meetings/main/join",
        "socket.io/?EIO=4&transport=polling",
    ] {
        let answer = http()
            .post(format!("http://{address}/{path}"))
            .header("origin", "http://evil.example")
            .send()
            .await
            .unwrap();
        assert_eq!(answer.status(), 403, "{path}");
        assert!(
            !answer
                .headers()
                .keys()
                .any(|name| name.as_str().starts_with("access-control"))
        );
    }
    hub.stop().await;
}

#[tokio::test]
async fn what_does_not_start_says_what_to_do() {
    let hub = Running::start(|_| {}).await;
    let fails = async |change: &dyn Fn(&mut HubOptions)| {
        let mut options = options();
        change(&mut options);
        let Err(error) = Hub::bind(options).await else {
            panic!("it started");
        };
        (error.worth_retrying(), error.to_string())
    };
    let taken = hub.address;
    let (retry, words) = fails(&|options| options.settings.listen = Some(taken)).await;
    assert!(
        retry && words.contains(&taken.to_string()) && words.contains("another program"),
        "{words}"
    );
    let (retry, words) =
        fails(&|options| options.settings.listen = Some("192.0.2.1:8443".parse().unwrap())).await;
    assert!(!retry && words.contains("without TLS"), "{words}");
    let (_, words) = fails(&|options| options.settings.listen = None).await;
    assert!(words.contains("[hub] listen"), "{words}");
    let (_, words) = fails(&|options| options.tls = Tls::Pem(b"x".to_vec())).await;
    assert!(words.contains("[hub] tls"), "{words}");
    let (_, words) = fails(&|options| {
        options.tls = Tls::SelfSigned {
            directory: "/nowhere/at/all".into(),
        };
    })
    .await;
    assert!(words.contains("/nowhere/at/all/hub-cert"), "{words}");
}

#[tokio::test]
async fn a_hub_for_others_is_encrypted_and_its_certificate_names_its_address() {
    let folder = Folder::new("names");
    let directory = folder.path().to_owned();
    let mut hub = Running::start(|options| {
        options.settings.listen = Some("0.0.0.0:0".parse().unwrap());
        options.settings.url = Some("https://hub.example.org:8443/".into());
        options.tls = Tls::SelfSigned { directory };
    })
    .await;
    assert_eq!(hub.origin, "https://hub.example.org:8443");
    assert!(
        hub.guest_link
            .starts_with("https://hub.example.org:8443/#meeting=main&token=")
    );
    let text = std::process::Command::new("openssl")
        .args(["x509", "-noout", "-text", "-in"])
        .arg(folder.path().join("hub-cert.pem"))
        .output()
        .expect("openssl is needed for this test: run `make setup`");
    let text = String::from_utf8(text.stdout).unwrap();
    for name in [
        "DNS:localhost",
        "DNS:hub.example.org",
        "IP Address:127.0.0.1",
        "TLS Web Server Authentication",
    ] {
        assert!(text.contains(name), "{text}");
    }
    let key = std::fs::metadata(folder.path().join("hub-cert.key")).unwrap();
    assert_eq!(key.permissions().mode() & 0o777, 0o600);

    // Under its name, with its certificate.
    let address = SocketAddr::from(([127, 0, 0, 1], hub.address.port()));
    let client = reqwest::Client::builder()
        .no_proxy()
        .resolve("hub.example.org", address)
        .add_root_certificate(
            reqwest::Certificate::from_pem(hub.certificate.as_deref().unwrap().as_bytes()).unwrap(),
        )
        .build()
        .unwrap();
    let url = format!("https://hub.example.org:{}/api/v1/{JOIN}", address.port());
    let answer = client.post(url).send().await.unwrap();
    assert_eq!(answer.status(), 401);
    hub.stop().await;
}
