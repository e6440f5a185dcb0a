//! The official client of Socket.IO, which the guest page uses.

use std::io::Write;
use std::process::{Command, Stdio};

use serde_json::json;

use super::*;

async fn official(hub: &Running, options: Value) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let folder = root.join("tests/browser");
    assert!(
        folder.join("node_modules/socket.io-client").is_dir(),
        "the packages of tests/browser are not installed: run `make setup`, or `npm ci` in {}",
        folder.display()
    );
    let input = json!({
        "url": hub.origin,
        "meeting": MEETING,
        "guest": link_token(&hub.guest_link),
        "host": link_token(&hub.host_link),
        "ca": hub.certificate,
        "options": options,
    });
    let script = root.join("tests/hub/official.mjs");
    let mut child = Command::new("node")
        .arg(script)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("node is needed for these tests: run `make setup`");
    child
        .stdin
        .take()
        .unwrap()
        .write_all(input.to_string().as_bytes())
        .unwrap();
    let output = tokio::task::spawn_blocking(|| child.wait_with_output())
        .await
        .unwrap()
        .unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(
        output.status.success(),
        "{options}: {}{}",
        text(&output.stdout),
        text(&output.stderr)
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_meets_by_websocket_by_polling_and_by_changing_from_one_to_the_other() {
    for options in [
        json!({"transports": ["websocket"], "ends": "websocket"}),
        json!({"transports": ["polling"], "ends": "polling"}),
        json!({"transports": ["polling", "websocket"], "ends": "websocket"}),
        json!({"transports": ["websocket"], "ends": "websocket", "early": true}),
        json!({"transports": ["polling", "websocket"], "ends": "websocket", "early": true}),
    ] {
        let mut hub = Running::start(|_| {}).await;
        official(&hub, options).await;
        hub.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_meets_over_tls() {
    let folder = Folder::new("official-tls");
    let directory = folder.path().to_owned();
    let mut hub = Running::start(|options| options.tls = Tls::SelfSigned { directory }).await;
    official(
        &hub,
        json!({"transports": ["polling", "websocket"], "ends": "websocket"}),
    )
    .await;
    hub.stop().await;
}
