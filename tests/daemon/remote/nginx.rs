//! The same over Debian's nginx: a real server of static files, with TLS and its own ETags.

use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use rcgen::{CertificateParams, KeyPair};

use super::*;

struct Nginx {
    child: Child,
    folder: PathBuf,
    port: u16,
}

impl Nginx {
    fn start(folder: PathBuf) -> Self {
        fs::create_dir_all(folder.join("files")).unwrap();
        let key = KeyPair::generate().unwrap();
        let names = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        let certificate = names.self_signed(&key).unwrap();
        fs::write(folder.join("cert.pem"), certificate.pem()).unwrap();
        fs::write(folder.join("key.pem"), key.serialize_pem()).unwrap();
        let port = TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap()
            .port();
        let user = match fs::metadata(&folder).unwrap().uid() {
            0 => "user root;",
            _ => "",
        };
        let temporary: String = ["client_body", "proxy", "fastcgi", "scgi", "uwsgi"]
            .iter()
            .map(|what| format!("  {what}_temp_path {what};\n"))
            .collect();
        let text = format!(
            "daemon off;\n{user}\npid pid;\nerror_log stderr;\nevents {{}}\nhttp {{\n{temporary}  access_log access.log;\n  \
             server {{\n    listen 127.0.0.1:{port} ssl;\n    ssl_certificate cert.pem;\n    ssl_certificate_key key.pem;\n    \
             root files;\n    rewrite ^/moved/(.*)$ /$1 permanent;\n  }}\n}}\n"
        );
        fs::write(folder.join("nginx.conf"), text).unwrap();
        let child = Command::new("/usr/sbin/nginx")
            .arg("-p")
            .arg(&folder)
            .args(["-c", "nginx.conf", "-e", "stderr"])
            .stdin(Stdio::null())
            .spawn()
            .expect("nginx is needed for this test: run `make setup`");
        until("nginx", || {
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

    fn put(&self, name: &str, content: &[u8]) {
        fs::write(self.folder.join("files").join(name), content).unwrap();
    }

    fn log(&self) -> String {
        fs::read_to_string(self.folder.join("access.log")).unwrap_or_default()
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        // SIGKILL would leave its workers behind.
        // SAFETY: kill(2) takes two numbers; the child has not been waited for, so the number is still its own.
        #[allow(unsafe_code)]
        unsafe {
            libc::kill(self.child.id() as libc::pid_t, libc::SIGTERM);
        }
        let _ = self.child.wait();
    }
}

#[test]
fn a_box_is_managed_from_nginx() {
    let mut setup = Setup::new("nginx");
    setup.layered = true;
    let nginx = Nginx::start(setup.path("nginx"));
    let signer = Signer::new(setup.path("admin"), "a");
    let publish = |version: u64| {
        let text = format!("[box]\nname = 'version {version}'\n");
        let signature = signer.sign(text.as_bytes(), &format!("version:{version}"));
        nginx.put("room-101.toml", text.as_bytes());
        nginx.put("room-101.toml.minisig", &signature);
    };
    publish(1);
    setup.put(
        "etc/huddled/conf.d/remote.toml",
        &format!(
            "[box]\nid = \"room-101\"\n[remote]\nurl = \"https://localhost:{}/moved/{{id}}.toml\"\nkey = \"{}\"\n\
             ca_file = \"{}\"\ninterval_ms = 10000\n",
            nginx.port,
            signer.public(),
            nginx.folder.join("cert.pem").display(),
        ),
    );
    let mut daemon = setup.start();
    daemon.until_version(1, true);
    until("a look that says nothing is new", || {
        let log = nginx.log();
        let again = log
            .lines()
            .any(|line| line.contains("GET /room-101.toml.minisig ") && line.contains(" 304 "));
        again.then_some(()).ok_or(log)
    });
    publish(2);
    daemon.until_version(2, true);
    let log = nginx.log();
    println!("{log}");
    let whole = |line: &&str| line.contains("GET /room-101.toml ") && line.contains(" 200 ");
    assert_eq!(
        log.lines().filter(whole).count(),
        2,
        "the file itself was fetched once a version"
    );
    let output = huddled()
        .args(["config", "remote", "--root"])
        .arg(daemon.setup.path("root"))
        .arg("--state-dir")
        .arg(daemon.setup.path("state"))
        .output()
        .unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(said.contains("on trial   version 2 ("), "{said}");
    // What lies on the box can be checked without it.
    let kept = fs::read_dir(daemon.setup.path("state/remote")).unwrap();
    for path in kept.map(|entry| entry.unwrap().path()) {
        let name = path.file_name().unwrap().to_str().unwrap();
        if name.ends_with(".toml") && name != "record.toml" {
            let key = signer.public();
            let output = Command::new("minisign")
                .args(["-V", "-P", &key, "-m"])
                .arg(&path)
                .output()
                .unwrap();
            assert!(output.status.success(), "{output:?}");
        }
    }
    daemon.stop(libc::SIGTERM);
}
