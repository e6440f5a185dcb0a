//! Strangers who hold whatever the hub lets them hold, all from one address, as behind a proxy.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::bystanders::Bystanders;
use super::raw::{Raw, frame, upgrade};
use super::*;

const JOIN: &str = "/api/v1/public-meetings/main/join";
/// Within this a right token must have let somebody in. A browser gives up much later; it takes some milliseconds.
const SOON: Duration = Duration::from_secs(10);
/// More than all places of strangers.
const MANY: usize = 200;

/// The parts of a request that keep a server waiting.
fn unfinished(hub: &Running) -> Vec<String> {
    let host = format!("Host: {}\r\n", hub.address);
    let body = |token: &str| {
        format!(
            "POST {JOIN} HTTP/1.1\r\n{host}{token}Content-Type: application/json\r\nContent-Length: 100\r\n\r\n{{"
        )
    };
    vec![
        // Nothing, half a line, half a head, a body that does not come.
        String::new(),
        "GET / HT".to_owned(),
        format!("GET / HTTP/1.1\r\n{host}X-Long: "),
        body(""),
        body("Authorization: Basic eDp5\r\n"),
        body("Authorization: Bearer a.b\r\n"),
        format!("POST {JOIN} HTTP/1.1\r\n{host}Transfer-Encoding: chunked\r\n\r\n5\r\n{{"),
        // Sessions that go no further, over a WebSocket and by polling.
        format!(
            "GET /socket.io/?EIO=4&transport=websocket HTTP/1.1\r\n{host}Connection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        ),
        format!("GET /socket.io/?EIO=4&transport=polling HTTP/1.1\r\n{host}\r\n"),
        // A page that nobody reads.
        format!("GET / HTTP/1.1\r\n{host}\r\n").repeat(50),
    ]
}

/// Strangers who hold connections and open each again that the hub has closed.
struct Strangers {
    tasks: JoinSet<()>,
    stop: std::sync::Arc<AtomicBool>,
    open: std::sync::Arc<AtomicUsize>,
}

impl Strangers {
    async fn hold(hub: &Running, what: &[String]) -> Self {
        let mut strangers = Self {
            tasks: JoinSet::new(),
            stop: std::sync::Arc::default(),
            open: std::sync::Arc::default(),
        };
        for number in 0..MANY {
            let text = what[number % what.len()].clone();
            let address = hub.address;
            let (stop, open) = (strangers.stop.clone(), strangers.open.clone());
            strangers.tasks.spawn(async move {
                while !stop.load(Ordering::Relaxed) {
                    if let Ok(mut stream) = TcpStream::connect(address).await
                        && stream.write_all(text.as_bytes()).await.is_ok()
                    {
                        open.fetch_add(1, Ordering::Relaxed);
                        let mut answer = [0; 256];
                        while stream.read(&mut answer).await.is_ok_and(|read| read > 0) {}
                    }
                    // Someone who opens connections as fast as the machine can is a matter of bandwidth.
                    sleep(Duration::from_millis(50)).await;
                }
            });
        }
        until("the strangers have what they can get", || {
            strangers.open.load(Ordering::Relaxed) >= MANY
        })
        .await;
        strangers
    }

    fn leave(mut self) {
        self.stop.store(true, Ordering::Relaxed);
        self.tasks.abort_all();
    }
}

/// Enters the meeting with this header in the first request.
async fn enters(hub: &Running, user: &str, token: &str, header: &str) -> Raw {
    let mut stream = TcpStream::connect(hub.address).await.unwrap();
    let headers = format!("Host: {}\r\n{header}\r\n", hub.address);
    let head = upgrade(&mut stream, "", &headers).await;
    assert!(head.starts_with("HTTP/1.1 101"), "{head}");
    let offered = header.starts_with("Sec-WebSocket-Protocol");
    let taken = head.contains("sec-websocket-protocol: huddled-token\r\n");
    assert_eq!(taken, offered, "{head}");
    let mut member = Raw::of(stream).enter(json!({ "token": token })).await;
    member.join(user).await;
    member.until("meeting:joined").await;
    member
}

/// A guest joins as the guest page does, with the token in the first request.
async fn guest_enters(hub: &Running) -> Raw {
    let (user, token) = hub.join_by(&hub.guest_link).await;
    let header = format!("Sec-WebSocket-Protocol: huddled-token, {}", token.0);
    enters(hub, &user, &token.0, &header).await
}

/// A box does so in another header.
async fn box_enters(hub: &Running) -> Raw {
    let token = &hub.token("x").0;
    enters(hub, "x", token, &format!("Authorization: Bearer {token}")).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn strangers_who_hold_everything_keep_no_guest_and_no_box_out() {
    let mut hub = Running::start(|_| {}).await;
    let bystanders = Bystanders::talking(&hub).await;
    let kinds = unfinished(&hub);
    // Each way alone, then all of them.
    let ways: Vec<&[String]> = kinds.chunks(1).chain([&kinds[..]]).collect();
    for way in ways {
        let strangers = Strangers::hold(&hub, way).await;
        let begun = Instant::now();
        let entering = async {
            let guest = guest_enters(&hub).await;
            (guest, box_enters(&hub).await)
        };
        let (guest, member) = timeout(SOON, entering)
            .await
            .unwrap_or_else(|_| panic!("nobody got in beside {:?}", &way[0]));
        println!(
            "in after {:?} beside {:?}",
            begun.elapsed(),
            way[0].get(..20)
        );
        strangers.leave();
        drop((guest, member));
        until_alone(&hub).await;
    }
    let noticed = bystanders.noticed().await;
    assert!(
        noticed
            .iter()
            .all(|event| event.starts_with("meeting:user-")),
        "{noticed:?}"
    );
    hub.stop().await;
}

/// Waits until nobody but the bystanders is in the meeting.
async fn until_alone(hub: &Running) {
    let deadline = Instant::now() + PATIENCE;
    while hub.rows().await.as_array().unwrap().len() > 2 {
        assert!(Instant::now() < deadline, "somebody stays");
        sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn unfinished_tls_handshakes_keep_no_guest_out() {
    let folder = Folder::new("strangers");
    let directory = folder.path().to_owned();
    let mut hub = Running::start(|options| {
        options.tls = Tls::SelfSigned { directory };
    })
    .await;
    // Nothing, and a client hello that breaks off.
    let strangers = Strangers::hold(
        &hub,
        &[String::new(), "\u{16}\u{3}\u{1}\u{2}\0\u{1}".into()],
    )
    .await;
    let certificate = hub.certificate.as_deref().unwrap().as_bytes();
    let client = reqwest::Client::builder()
        .no_proxy()
        .add_root_certificate(reqwest::Certificate::from_pem(certificate).unwrap())
        .build()
        .unwrap();
    let join = client
        .post(format!("https://{}{JOIN}", hub.address))
        .bearer_auth(link_token(&hub.guest_link).unwrap())
        .body("{}");
    let answer = timeout(SOON, join.send()).await.expect("in vain").unwrap();
    assert_eq!(answer.status(), 201);
    strangers.leave();
    hub.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_office_behind_one_address_gets_in_beside_strangers_there() {
    let hub = Running::start(|options| options.settings.limits.members = 64).await;
    let kinds = unfinished(&hub);
    let strangers = Strangers::hold(&hub, &kinds).await;
    let hub = std::sync::Arc::new(hub);
    let mut office = JoinSet::new();
    for _ in 0..40 {
        let hub = std::sync::Arc::clone(&hub);
        office.spawn(async move { guest_enters(&hub).await });
    }
    let entering = async {
        let mut members = Vec::new();
        while let Some(member) = office.join_next().await {
            members.push(member.unwrap());
        }
        members
    };
    let members = timeout(PATIENCE, entering).await.expect("some are outside");
    assert_eq!(members.len(), 40);
    strangers.leave();
    assert_eq!(hub.rows().await.as_array().unwrap().len(), 40);
}

/// Sends the head of a join, and the body in pieces with a pause after each; the status.
async fn slow_join(hub: &Running, token: &str, body: &[&str], pause: Duration) -> u16 {
    let mut stream = TcpStream::connect(hub.address).await.unwrap();
    let length: usize = body.iter().map(|piece| piece.len()).sum();
    let head = format!(
        "POST {JOIN} HTTP/1.1\r\nHost: {}\r\nAuthorization: Bearer {token}\r\nContent-Length: {length}\r\n\r\n",
        hub.address
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    let (mut reading, mut writing) = stream.into_split();
    let pieces: Vec<String> = body.iter().map(|piece| (*piece).to_owned()).collect();
    let sending = tokio::spawn(async move {
        for piece in pieces {
            sleep(pause).await;
            if writing.write_all(piece.as_bytes()).await.is_err() {
                break;
            }
        }
        writing
    });
    let mut line = [0; 12];
    let read = timeout(PATIENCE, reading.read_exact(&mut line)).await;
    read.expect("no answer").unwrap();
    sending.abort();
    std::str::from_utf8(&line[9..]).unwrap().parse().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_body_is_awaited_from_those_with_a_token_alone_and_not_for_ever() {
    let mut hub = Running::start(|_| {}).await;
    let right = link_token(&hub.guest_link).unwrap().to_owned();
    // Nothing of the body has come when the answer is there: this pause is longer than the test waits.
    let never = Duration::from_secs(3600);
    assert_eq!(slow_join(&hub, "a.b", &["{}"], never).await, 401);
    let phone = ["{", " ", " ", " ", " ", "}"];
    let quick = slow_join(&hub, &right, &phone, Duration::from_millis(500));
    let silent = slow_join(&hub, &right, &["{}"], never);
    let trickle = [" "; 100];
    let slow = slow_join(&hub, &right, &trickle, Duration::from_secs(1));
    let begun = Instant::now();
    assert_eq!(tokio::join!(quick, silent, slow), (201, 408, 408));
    assert!(
        begun.elapsed() < Duration::from_secs(20),
        "{:?}",
        begun.elapsed()
    );
    hub.stop().await;
}

/// The status of a request by hand, whatever its first line is.
async fn asked(hub: &Running, line: &str) -> (u16, bool) {
    let mut stream = TcpStream::connect(hub.address).await.unwrap();
    let request = format!(
        "{line} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\nContent-Length: 0\r\n\r\n",
        hub.address
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    let read = timeout(PATIENCE, stream.read_to_end(&mut answer)).await;
    read.expect("no end").unwrap();
    let answer = String::from_utf8_lossy(&answer).into_owned();
    let status = answer.get(9..12).and_then(|status| status.parse().ok());
    (status.unwrap_or_default(), answer.contains("\"sid\""))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_in_another_spelling_opens_no_session() {
    let mut hub = Running::start(|options| options.settings.limits.connections = 20).await;
    for parameter in [
        "&s%69d=x",
        "&%73id=AAAAAAAAAAAAAAAA",
        "&sid=",
        "&sid",
        "&sid=x",
        "&sid=AAAAAAAAAAAAAAAA",
        "&SID=AAAAAAAAAAAAAAAA",
        "&sid=AAAAAAAAAAAAAAAA&sid=BBBBBBBBBBBBBBBB",
        "&transport=websocket",
        "&EIO=4",
        "&j=1",
        "&x=1",
        "&",
    ] {
        let line = format!("GET /socket.io/?EIO=4&transport=polling{parameter}");
        assert_eq!(asked(&hub, &line).await, (400, false), "{parameter}");
    }
    for line in [
        "GET /socket.io/",
        "GET /socket.io/?",
        "GET /socket.io/?EIO=3&transport=polling",
        "GET /socket.io/?EIO=4&transport=webtransport",
        "GET /socket.io/?EIO=4%26transport=polling",
        "POST /socket.io/?EIO=4&transport=polling",
    ] {
        assert_eq!(asked(&hub, line).await, (400, false), "{line}");
    }
    for (line, status) in [
        ("GET /socket.io?EIO=4&transport=polling", 404),
        ("GET //socket.io/?EIO=4&transport=polling", 404),
        ("GET /%73ocket.io/?EIO=4&transport=polling", 404),
        ("GET /./socket.io/?EIO=4&transport=polling", 404),
        ("GET /Socket.IO/?EIO=4&transport=polling", 404),
        ("get /socket.io/?EIO=4&transport=polling", 405),
        ("OPTIONS /socket.io/?EIO=4&transport=polling", 405),
        (
            "GET http://evil.example/socket.io/?EIO=4&transport=polling",
            403,
        ),
    ] {
        assert_eq!(asked(&hub, line).await, (status, false), "{line}");
    }
    // The whole address in the first line is right where it is the hub's (RFC 9112 section 3.2.2).
    let whole = format!(
        "GET http://{}/socket.io/?EIO=4&transport=polling",
        hub.address
    );
    assert_eq!(asked(&hub, &whole).await, (200, true));
    hub.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn there_are_never_more_sessions_than_allowed() {
    const LIMIT: usize = 8;
    let mut hub = Running::start(|options| {
        options.settings.limits.connections = u32::try_from(LIMIT).unwrap();
    })
    .await;
    let member = Raw::joined(&hub, "a").await;
    let mut streams = Vec::new();
    for _ in 0..3 * LIMIT {
        let mut stream = TcpStream::connect(hub.address).await.unwrap();
        let host = format!("Host: {}\r\n", hub.address);
        let head = upgrade(&mut stream, "", &host).await;
        assert!(head.starts_with("HTTP/1.1 101"), "{head}");
        streams.push(stream);
    }
    // The hub closes the oldest ones that have shown nothing; the member stays.
    let mut open = 0;
    for stream in &mut streams[..2 * LIMIT] {
        let mut rest = Vec::new();
        let end = timeout(Duration::from_secs(5), stream.read_to_end(&mut rest)).await;
        open += usize::from(end.is_err());
    }
    assert!(open < LIMIT, "{open} of the oldest are open");
    let mut member = member;
    assert_eq!(member.heard().await, []);
    hub.stop().await;
}

/// Opens a session on a WebSocket and sends this; how long the hub keeps the connection.
async fn kept(hub: &Running, messages: &[String]) -> Duration {
    let mut stream = TcpStream::connect(hub.address).await.unwrap();
    let host = format!("Host: {}\r\n", hub.address);
    let head = upgrade(&mut stream, "", &host).await;
    assert!(head.starts_with("HTTP/1.1 101"), "{head}");
    let begun = Instant::now();
    for message in messages {
        // The hub may have closed by now.
        let _ = stream.write_all(&frame(message.as_bytes())).await;
    }
    let mut rest = Vec::new();
    let end = timeout(PATIENCE, stream.read_to_end(&mut rest)).await;
    assert!(end.is_ok(), "{:?} is kept", messages.first());
    begun.elapsed()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_that_shows_no_token_ends_in_time_and_holds_little() {
    let mut hub = Running::start(|_| {}).await;
    let silent = kept(&hub, &[]);
    let elsewhere = ["40/x,".to_owned()];
    let elsewhere = kept(&hub, &elsewhere);
    let refused = [format!(
        "40{}",
        json!({"userId": "a", "meetingId": MEETING})
    )];
    let refused = kept(&hub, &refused);
    // A message that is allowed to members, before anybody is one.
    let large = ["4".repeat(100_000)];
    let large = kept(&hub, &large);
    let (_, _, refused, large) = tokio::join!(silent, elsewhere, refused, large);
    // Both ended before the ten seconds of those who say nothing.
    assert!(refused < Duration::from_secs(8), "{refused:?}");
    assert!(large < Duration::from_secs(8), "{large:?}");
    hub.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn members_keep_their_places_whatever_strangers_open() {
    let mut hub = Running::start(|options| options.settings.limits.connections = 4).await;
    let bystanders = Bystanders::talking(&hub).await;
    // A member by polling has no connection that could be kept.
    let url = format!("http://{}/socket.io/?EIO=4&transport=polling", hub.address);
    let open = http().get(&url).send().await.unwrap().text().await.unwrap();
    let open: Value = serde_json::from_str(&open[1..]).unwrap();
    let url = format!("{url}&sid={}", open["sid"].as_str().unwrap());
    let (user, token) = hub.join_by(&hub.guest_link).await;
    let join = json!(["meeting:join", {"meetingId": MEETING, "userId": user}]);
    // With the answer to the first heartbeat.
    let connect = format!("40{}\u{1e}3", json!({"token": token.0}));
    for message in [connect, format!("42{join}")] {
        let answer = http().post(&url).body(message).send().await.unwrap();
        assert_eq!(answer.status(), 200);
        let begun = Instant::now();
        loop {
            let heard = http().get(&url).send().await.unwrap();
            if heard.text().await.unwrap().contains('4') {
                break;
            }
            assert!(begun.elapsed() < PATIENCE, "no answer");
        }
    }
    let rounds = std::sync::Arc::new(AtomicUsize::new(0));
    let counter = std::sync::Arc::clone(&rounds);
    // A heartbeat comes every five seconds and waits five more.
    let polling = tokio::spawn(async move {
        loop {
            let heard = http().get(&url).send().await.unwrap();
            assert_eq!(heard.status(), 200);
            if heard.text().await.unwrap().contains('2') {
                let answer = http().post(&url).body("3").send().await.unwrap();
                assert_eq!(answer.status(), 200);
                counter.fetch_add(1, Ordering::Relaxed);
            }
        }
    });
    let strangers = Strangers::hold(&hub, &unfinished(&hub)).await;
    let goal = rounds.load(Ordering::Relaxed) + 2;
    until("the member goes on polling", || {
        polling.is_finished() || rounds.load(Ordering::Relaxed) >= goal
    })
    .await;
    assert!(!polling.is_finished(), "the member was closed");
    polling.abort();
    bystanders.go_on().await;
    strangers.leave();
    assert_eq!(
        bystanders.noticed().await,
        [format!("meeting:user-joined {user}")]
    );
    hub.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_guest_by_polling_gets_in_beside_strangers_by_polling() {
    let mut hub = Running::start(|options| options.settings.limits.connections = 8).await;
    let polling = format!(
        "GET /socket.io/?EIO=4&transport=polling HTTP/1.1\r\nHost: {}\r\n\r\n",
        hub.address
    );
    let strangers = Strangers::hold(&hub, &[polling]).await;
    let url = format!("http://{}/socket.io/?EIO=4&transport=polling", hub.address);
    let (_, token) = hub.join_by(&hub.guest_link).await;
    let open = http().get(&url).bearer_auth(&token.0).send().await.unwrap();
    assert_eq!(open.status(), 200);
    let open: Value = serde_json::from_str(&open.text().await.unwrap()[1..]).unwrap();
    let url = format!("{url}&sid={}", open["sid"].as_str().unwrap());
    let connect = format!("40{}", json!({"token": token.0}));
    let answer = http().post(&url).body(connect).send().await.unwrap();
    assert_eq!(answer.status(), 200);
    strangers.leave();
    hub.stop().await;
}

/// Counts what the hub logs. There is one logger for the whole process, so other tests are counted as well.
struct Lines(AtomicUsize);

impl log::Log for Lines {
    fn enabled(&self, _: &log::Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &log::Record<'_>) {
        let target = record.target();
        if record.level() <= log::Level::Info
            && (target.starts_with("huddled::hub") || target.starts_with("huddled::web"))
        {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn flush(&self) {}
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn strangers_cannot_fill_the_journal() {
    static LINES: Lines = Lines(AtomicUsize::new(0));
    log::set_logger(&LINES).expect("no other test has a logger");
    log::set_max_level(log::LevelFilter::Info);
    let mut hub = Running::start(|options| options.settings.limits.connections = 16).await;
    let before = LINES.0.load(Ordering::Relaxed);
    for number in 0..150 {
        let mut refused = Raw::connect(&hub, json!({})).await;
        assert_eq!(refused.until("error").await["code"], "unauthorized");
        let path = "public-meetings/main/join";
        hub.rest("POST", path, Some(&format!("a.{number}"))).await;
    }
    let mut held = Vec::new();
    for _ in 0..300 {
        held.push(TcpStream::connect(hub.address).await.unwrap());
    }
    let lines = LINES.0.load(Ordering::Relaxed) - before;
    println!("{lines} lines for 600 events");
    assert!(lines < 100, "{lines}");
    hub.stop().await;
}
