//! A network whose only way out is a proxy: Debian's tinyproxy, asked for a tunnel to the web server (RFC 9110, 9.3.6).

use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use super::*;

struct Tinyproxy {
    child: Child,
    folder: PathBuf,
    port: u16,
}

impl Tinyproxy {
    fn start(folder: PathBuf) -> Self {
        fs::create_dir_all(&folder).unwrap();
        let port = TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap()
            .port();
        let text = format!(
            "Port {port}\nListen 127.0.0.1\nTimeout 60\nMaxClients 20\nLogLevel Info\nLogFile \"{}\"\n",
            folder.join("log").display()
        );
        fs::write(folder.join("conf"), text).unwrap();
        let child = Command::new("/usr/bin/tinyproxy")
            .arg("-d")
            .arg("-c")
            .arg(folder.join("conf"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("tinyproxy is needed for this test: run `make setup`");
        until("tinyproxy", || {
            std::net::TcpStream::connect(("127.0.0.1", port))
                .map(drop)
                .map_err(|error| error.to_string())
        });
        Self {
            child,
            folder,
            port,
        }
    }

    fn tunnels(&self) -> usize {
        let log = fs::read_to_string(self.folder.join("log")).unwrap_or_default();
        log.lines()
            .filter(|line| line.contains("): CONNECT "))
            .count()
    }

    fn stop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Tinyproxy {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn a_box_is_managed_through_a_proxy() {
    let mut setup = Setup::new("proxy");
    setup.expected_errors = vec!["remote configuration"];
    let mut proxy = Tinyproxy::start(setup.path("proxy"));
    let mut managed = Managed::new(setup);
    let setup = managed.setup.as_ref().unwrap();
    setup.put(
        "etc/huddled/conf.d/proxy.toml",
        &format!("[remote]\nproxy = \"http://127.0.0.1:{}\"\n", proxy.port),
    );
    managed.publish(1, "[box]\nname = 'through the proxy'\n");
    let mut daemon = managed.start();
    daemon.until_version(1, true);
    assert!(daemon.shown(&[]).contains("name = \"through the proxy\""));
    // The signature and the file; each in a tunnel, so the proxy saw neither.
    let begun = proxy.tunnels();
    assert!(begun >= 2, "{begun} tunnels");

    // Inside the tunnel it is the web server that has to prove itself: to the box's own authority, at the box's own time.
    managed.web.present(Certificate::Future);
    managed.publish(2, "[box]\nname = 'later'\n");
    let said = daemon.fetch();
    assert!(
        said.contains("the clock of this box is most likely wrong"),
        "{said}"
    );
    let stranger = Web::start();
    daemon.setup.put("etc/huddled/ca.pem", &stranger.ca);
    managed.web.present(Certificate::Now);
    daemon.stop(libc::SIGTERM);
    daemon.spawn_as_it_is();
    daemon.until_health("a certificate nobody trusts", |health| {
        let problem = health["remote"]["problem"].as_str().unwrap_or_default();
        problem.contains("certificate verify failed")
    });
    daemon.setup.put("etc/huddled/ca.pem", &managed.web.ca);
    daemon.stop(libc::SIGTERM);
    daemon.spawn_as_it_is();
    daemon.until_version(2, true);
    assert!(proxy.tunnels() > begun);

    // No way around it.
    proxy.stop();
    managed.publish(3, "[box]\nname = 'around it'\n");
    managed.web.forget();
    let said = daemon.fetch();
    println!("without the proxy: {said}");
    assert!(
        said.contains(&format!("http://127.0.0.1:{}", proxy.port)),
        "{said}"
    );
    assert_eq!(managed.web.requests(), []);
    daemon.until_version(2, true);
    daemon.stop(libc::SIGTERM);
}
