//! The test gateway as a child process, with its controls.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

/// Longer than anything here takes, even on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

pub(crate) struct Gateway {
    child: Child,
    http: reqwest::Client,
    scheme: &'static str,
    pub(crate) port: u16,
}

impl Gateway {
    /// Starts `tests/browser/gateway.mjs` with these options and waits until it listens.
    pub(crate) fn start(options: &[&str]) -> Self {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/browser");
        assert!(
            folder.join("node_modules/socket.io").is_dir(),
            "the packages of tests/browser are not installed: run `make setup`, or `npm ci` in {}",
            folder.display()
        );
        let mut child = Command::new("node")
            .arg(folder.join("gateway.mjs"))
            .arg("--exit-with-stdin")
            .args(options)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("node is needed for these tests: run `make setup`");
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap())
            .read_line(&mut line)
            .unwrap();
        let ready: Value = serde_json::from_str(&line).expect("the gateway did not start");
        let tls = options.contains(&"--tls-cert");
        Self {
            child,
            http: reqwest::Client::builder()
                // The server may have closed a kept connection: restarts, idle time.
                .pool_max_idle_per_host(0)
                .no_proxy()
                .danger_accept_invalid_certs(tls)
                .build()
                .unwrap(),
            scheme: if tls { "https" } else { "http" },
            port: ready["port"].as_u64().unwrap() as u16,
        }
    }

    pub(crate) fn url(&self) -> String {
        format!("{}://127.0.0.1:{}", self.scheme, self.port)
    }

    /// One of the gateway's test controls.
    pub(crate) async fn control(&self, name: &str, arguments: Value) -> Value {
        let response = self
            .http
            .post(format!("{}/__test/{name}", self.url()))
            .header("content-type", "application/json")
            .body(arguments.to_string())
            .send()
            .await
            .unwrap();
        assert!(response.status().is_success(), "{name}: {response:?}");
        response.json().await.unwrap()
    }

    /// A token the gateway takes for this user.
    pub(crate) async fn token(&self, user: &str) -> String {
        let answer = self.control("giveToken", json!({"user": user})).await;
        answer["token"].as_str().unwrap().into()
    }

    /// Waits until a control's answer is as wished.
    pub(crate) async fn until(
        &self,
        name: &str,
        arguments: Value,
        wished: impl Fn(&Value) -> bool,
    ) -> Value {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let answer = self.control(name, arguments.clone()).await;
            if wished(&answer) {
                return answer;
            }
            assert!(Instant::now() < deadline, "{name} stayed at {answer}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// What this user sent: (event, payload) in order.
    pub(crate) async fn received(&self, user: &str) -> Vec<(String, Value)> {
        names(&self.control("received", json!({"user": user})).await)
    }
}

/// The events and payloads of a list of received events.
pub(crate) fn names(received: &Value) -> Vec<(String, Value)> {
    let all = received.as_array().unwrap();
    all.iter()
        .map(|each| {
            (
                each["event"].as_str().unwrap().into(),
                each["payload"].clone(),
            )
        })
        .collect()
}

impl Drop for Gateway {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
