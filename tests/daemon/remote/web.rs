//! A web server with TLS that does as it is told, well or badly.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use native_tls::{Identity, TlsAcceptor};
use rcgen::{CertificateParams, KeyPair, date_time_ymd};

/// What it does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Manner {
    /// Serves its files, with ETags.
    Well,
    /// The same without ETags.
    WithoutEtags,
    /// Sends everybody round in circles.
    Circles,
    /// Sends everybody to plain HTTP.
    Plain,
    /// Never comes to an end.
    Endless,
    /// Accepts, and says nothing.
    Silent,
    /// Is out of order.
    Broken,
}

/// When its certificate is good.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Certificate {
    Now,
    /// Until 2001.
    Past,
    /// From 2101.
    Future,
}

struct Site {
    manner: Manner,
    presented: Certificate,
    files: BTreeMap<String, Vec<u8>>,
    requests: Vec<(String, u16)>,
}

/// The server; its thread ends with the process.
pub(super) struct Web {
    address: SocketAddr,
    /// The certificates of all its states, to be trusted.
    pub(super) ca: String,
    site: Arc<Mutex<Site>>,
}

impl Web {
    pub(super) fn start() -> Self {
        let key = KeyPair::generate().unwrap();
        let certificates = [Certificate::Past, Certificate::Now, Certificate::Future]
            .map(|when| (when, certificate(&key, when)));
        let ca = certificates.iter().map(|(_, pem)| pem.as_str()).collect();
        let acceptors = certificates
            .iter()
            .map(|(when, pem)| (*when, acceptor(&key, pem)))
            .collect::<BTreeMap<_, _>>();
        let acceptors = Arc::new(acceptors);
        let site = Arc::new(Mutex::new(Site {
            manner: Manner::Well,
            presented: Certificate::Now,
            files: BTreeMap::new(),
            requests: Vec::new(),
        }));
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        std::thread::spawn({
            let site = Arc::clone(&site);
            move || {
                for stream in listener.incoming() {
                    let (site, acceptors) = (Arc::clone(&site), Arc::clone(&acceptors));
                    // Clients that go away are their own affair.
                    std::thread::spawn(move || serve(stream.unwrap(), address, &site, &acceptors));
                }
            }
        });
        Self { address, ca, site }
    }

    pub(super) fn url(&self, path: &str) -> String {
        format!("https://{}/{path}", self.address)
    }

    pub(super) fn put(&self, name: &str, content: &[u8]) {
        let mut site = self.site.lock().unwrap();
        site.files.insert(format!("/{name}"), content.to_vec());
    }

    pub(super) fn behave(&self, manner: Manner) {
        self.site.lock().unwrap().manner = manner;
    }

    pub(super) fn present(&self, when: Certificate) {
        self.site.lock().unwrap().presented = when;
    }

    /// As if nobody had asked for anything.
    pub(super) fn forget(&self) {
        self.site.lock().unwrap().requests.clear();
    }

    /// Paths and the status that each was answered with.
    pub(super) fn requests(&self) -> Vec<(String, u16)> {
        self.site.lock().unwrap().requests.clone()
    }
}

fn certificate(key: &KeyPair, when: Certificate) -> String {
    let mut wanted = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
    // OpenSSL tells certificates of one name apart by their key alone, so they need names of their own.
    let name = format!("{when:?}");
    wanted
        .distinguished_name
        .push(rcgen::DnType::CommonName, name);
    (wanted.not_before, wanted.not_after) = match when {
        Certificate::Past => (date_time_ymd(2000, 1, 1), date_time_ymd(2001, 1, 1)),
        Certificate::Now => (date_time_ymd(2000, 1, 1), date_time_ymd(2100, 1, 1)),
        Certificate::Future => (date_time_ymd(2101, 1, 1), date_time_ymd(2102, 1, 1)),
    };
    wanted.self_signed(key).unwrap().pem()
}

fn acceptor(key: &KeyPair, pem: &str) -> TlsAcceptor {
    let identity = Identity::from_pkcs8(pem.as_bytes(), key.serialize_pem().as_bytes()).unwrap();
    TlsAcceptor::new(identity).unwrap()
}

fn serve(
    stream: TcpStream,
    address: SocketAddr,
    site: &Mutex<Site>,
    acceptors: &BTreeMap<Certificate, TlsAcceptor>,
) -> Option<()> {
    let (manner, presented) = {
        let site = site.lock().unwrap();
        (site.manner, site.presented)
    };
    if manner == Manner::Silent {
        // Until the other side has had enough.
        let _ = (&stream).read(&mut [0; 4096]);
        stream
            .set_read_timeout(Some(Duration::from_secs(60)))
            .ok()?;
        let _ = (&stream).read(&mut [0; 4096]);
        return None;
    }
    let mut stream = acceptors.get(&presented)?.accept(stream).ok()?;
    let mut request = Vec::new();
    while !request.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).ok()?;
        request.push(byte[0]);
    }
    let request = String::from_utf8(request).ok()?;
    let path = request.split(' ').nth(1)?.to_owned();
    let known = request.lines().find_map(|line| {
        let (name, value) = line.split_once(": ")?;
        name.eq_ignore_ascii_case("if-none-match")
            .then_some(value.to_owned())
    });
    let (status, head, body) = match manner {
        Manner::Circles => (
            302,
            format!("location: https://{address}{path}?\r\n"),
            Vec::new(),
        ),
        Manner::Plain => (
            302,
            format!("location: http://{address}{path}\r\n"),
            Vec::new(),
        ),
        Manner::Broken => (503, String::new(), Vec::new()),
        Manner::Endless => {
            site.lock().unwrap().requests.push((path, 200));
            stream
                .write_all(b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n")
                .ok()?;
            while stream.write_all(&[b'#'; 4096]).is_ok() {}
            return None;
        }
        Manner::Well | Manner::WithoutEtags | Manner::Silent => {
            let file = site.lock().unwrap().files.get(&path).cloned();
            match file {
                None => (404, String::new(), Vec::new()),
                Some(content) => {
                    let sum = content.iter().fold(7u64, |sum, byte| {
                        sum.wrapping_mul(31).wrapping_add(u64::from(*byte))
                    });
                    let etag = format!("\"{sum:x}\"");
                    match manner == Manner::Well {
                        false => (200, String::new(), content),
                        true if known.as_ref() == Some(&etag) => (304, String::new(), Vec::new()),
                        true => (200, format!("etag: {etag}\r\n"), content),
                    }
                }
            }
        }
    };
    site.lock().unwrap().requests.push((path, status));
    let length = body.len();
    let text = format!(
        "HTTP/1.1 {status} X\r\nconnection: close\r\n{head}content-length: {length}\r\n\r\n"
    );
    stream.write_all(text.as_bytes()).ok()?;
    stream.write_all(&body).ok()?;
    stream.shutdown().ok()
}
