//! Fetching: whatever the server does, this ends soon and takes little.

use std::time::Duration;

use native_tls::Certificate;
use reqwest::header::{ETAG, IF_NONE_MATCH};
use reqwest::redirect::Policy;
use reqwest::{Client, ClientBuilder, Proxy, StatusCode, Url};

use crate::causes::{self, describe};
use crate::clock;
use crate::config::RemoteSettings;

/// For one request with its redirects and its whole answer.
const LIMIT: Duration = Duration::from_secs(30);
/// For getting through to the server.
const CONNECT: Duration = Duration::from_secs(10);
/// How long a server may take to give a sign of life.
const ANSWER: Duration = Duration::from_secs(10);
/// Most redirects.
const REDIRECTS: usize = 3;
/// Longest file, bytes: ten times what every setting together takes.
const LONGEST: usize = 256 * 1024;
/// Longest signature, bytes: minisign's has some 300, and a comment.
const LONGEST_SIGNATURE: usize = 4 * 1024;

/// What a look brought.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fetched {
    /// The signature is the one that is known, so the file is too.
    Unchanged,
    /// Both files.
    Files {
        /// The file's bytes.
        text: Vec<u8>,
        /// The signature's text.
        signature: String,
        /// The signature's ETag, for the next look.
        etag: Option<String>,
    },
}

/// The web server.
#[derive(Debug)]
pub struct Server {
    client: Client,
    file: Url,
    signature: Url,
    proxy: Option<String>,
}

impl Server {
    /// As the configuration has it. `ca` are PEM certificates to trust besides the system's.
    ///
    /// # Errors
    /// A sentence.
    pub fn new(settings: &RemoteSettings, ca: Option<&str>) -> Result<Self, String> {
        let file = Url::parse(&settings.url)
            .map_err(|error| format!("[remote] url is no address: {error}"))?;
        let mut signature = file.clone();
        signature.set_path(&format!("{}.minisig", file.path()));
        let mut builder = client(ca, "[remote] ca_file")?
            .https_only(true)
            .redirect(Policy::limited(REDIRECTS))
            .timeout(LIMIT)
            .read_timeout(ANSWER);
        if let Some(proxy) = &settings.proxy {
            let proxy = Proxy::all(proxy)
                .map_err(|error| format!("[remote] proxy cannot be used: {}", describe(&error)))?;
            builder = builder.proxy(proxy);
        }
        let client = builder
            .build()
            .map_err(|error| format!("no HTTPS client: {}", describe(&error)))?;
        Ok(Self {
            client,
            file,
            signature,
            proxy: settings.proxy.clone(),
        })
    }

    /// Where the file lies.
    pub fn address(&self) -> &str {
        self.file.as_str()
    }

    /// Looks. The signature is asked for first, with its last `etag`: it is small, and another one if the file is. `known`
    /// is the last signature, for servers without ETags.
    ///
    /// # Errors
    /// A sentence that names the address.
    pub async fn fetch(&self, etag: Option<&str>, known: Option<&str>) -> Result<Fetched, String> {
        let Some((signature, etag)) = self.get(&self.signature, LONGEST_SIGNATURE, etag).await?
        else {
            return Ok(Fetched::Unchanged);
        };
        let signature = String::from_utf8(signature)
            .map_err(|_| format!("{}: it is no text", self.signature))?;
        if known == Some(signature.as_str()) {
            return Ok(Fetched::Unchanged);
        }
        match self.get(&self.file, LONGEST, None).await? {
            Some((text, _)) => Ok(Fetched::Files {
                text,
                signature,
                etag,
            }),
            None => Err(format!(
                "{}: the server says that it has not changed, which nobody asked",
                self.file
            )),
        }
    }

    /// A file and its ETag; `None` if it has not changed.
    async fn get(
        &self,
        url: &Url,
        longest: usize,
        etag: Option<&str>,
    ) -> Result<Option<(Vec<u8>, Option<String>)>, String> {
        let failed = |error: reqwest::Error| {
            let error = error.without_url();
            // Else it would be looked for at the wrong machine.
            let way = match &self.proxy {
                Some(proxy) => format!(" (by [remote] proxy {proxy})"),
                None => String::new(),
            };
            format!("{url}{way}: {}", explain(&describe(&error)))
        };
        let mut request = self.client.get(url.clone());
        if let Some(etag) = etag {
            request = request.header(IF_NONE_MATCH, etag);
        }
        let mut response = request.send().await.map_err(failed)?;
        match response.status() {
            StatusCode::NOT_MODIFIED if etag.is_some() => return Ok(None),
            StatusCode::OK => {}
            status => return Err(format!("{url}: the server answers {status}")),
        }
        let etag = response.headers().get(ETAG);
        let etag = etag.and_then(|etag| etag.to_str().ok()).map(str::to_owned);
        let mut bytes = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(failed)? {
            if bytes.len() + chunk.len() > longest {
                return Err(format!("{url}: it is longer than {longest} bytes"));
            }
            bytes.extend_from_slice(&chunk);
        }
        Ok(Some((bytes, etag)))
    }
}

/// Whether anything that speaks HTTP answers there; `ca` as for [`Server::new`].
pub async fn answers(url: &str, ca: Option<&str>) -> bool {
    let Ok(client) = client(ca, "[signaling] ca_file").and_then(|builder| {
        builder
            .no_proxy()
            .redirect(Policy::none())
            .timeout(ANSWER)
            .build()
            .map_err(|error| describe(&error))
    }) else {
        return false;
    };
    match client.get(url).send().await {
        Ok(_) => true,
        Err(error) => {
            log::debug!("{url} does not answer: {}", describe(&error.without_url()));
            false
        }
    }
}

fn client(ca: Option<&str>, key: &str) -> Result<ClientBuilder, String> {
    let mut builder = Client::builder()
        .user_agent(concat!("huddled/", env!("CARGO_PKG_VERSION")))
        .min_tls_version(reqwest::tls::Version::TLS_1_2)
        .connect_timeout(CONNECT)
        // Minutes pass until the next request.
        .pool_max_idle_per_host(0);
    let unusable = |reason: &str| {
        format!("the certificates of {key} cannot be used: {reason}; give PEM certificates")
    };
    if let Some(pem) = ca {
        let found = Certificate::stack_from_pem(pem.as_bytes())
            .map_err(|error| unusable(&error.to_string()))?;
        if found.is_empty() {
            return Err(unusable("it holds none"));
        }
        for certificate in found {
            let certificate = certificate
                .to_der()
                .map_err(|error| unusable(&error.to_string()))
                .and_then(|der| {
                    reqwest::Certificate::from_der(&der)
                        .map_err(|error| unusable(&describe(&error)))
                })?;
            builder = builder.add_root_certificate(certificate);
        }
    }
    Ok(builder)
}

/// OpenSSL's verdict on a certificate in words that say what to do.
fn explain(error: &str) -> String {
    if let Some(words) = causes::about_time(error, clock::since_1970()) {
        return words;
    }
    if error.contains("self-signed certificate") || error.contains("local issuer certificate") {
        return format!(
            "nobody whom this box trusts has signed the server's certificate; give its authority as [remote] ca_file \
             ({error})"
        );
    }
    error.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stranger_is_called_one() {
        let strange = explain("certificate verify failed (self-signed certificate)");
        assert!(strange.contains("[remote] ca_file"), "{strange}");
        assert_eq!(explain("connection refused"), "connection refused");
    }

    #[test]
    fn the_signature_lies_beside_the_file_whatever_the_address() {
        let settings = |url: &str| RemoteSettings {
            url: url.to_owned(),
            keys: Vec::new(),
            ca_file: None,
            proxy: Some("http://proxy.example.org:3128".to_owned()),
            interval: Duration::from_secs(300),
            probation: Duration::from_secs(120),
        };
        let server = Server::new(&settings("https://b.example.org/a.toml?room=7"), None).unwrap();
        assert_eq!(
            server.signature.as_str(),
            "https://b.example.org/a.toml.minisig?room=7"
        );
        let error = Server::new(&settings("https://b.example.org/a"), Some("no PEM")).unwrap_err();
        assert!(error.contains("[remote] ca_file"), "{error}");
    }
}
