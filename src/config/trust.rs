//! What a remote file may not change for the worse. [`check_remote`](super::check_remote) says which keys it may set;
//! this says which values: the merged settings are compared with those of the box's own files, value by value, after
//! both have been parsed.

use std::path::Path;

use super::document::Section;
use super::settings::{CredentialRef, HubTls, Settings, VideoDevice};
use super::{ConfigError, Layer, Origins, ServerUrl, VideoName, sections, values};

/// What the box's own files say without the remote file.
pub(super) struct Own {
    settings: Settings,
    /// `[signaling] url`, with or without a meeting.
    server: Option<ServerUrl>,
    /// Names of its password and its token, with or without a meeting.
    server_secrets: Vec<String>,
}

/// What a secret is for. A remote file may not take one for something else: what leaves the box as a password must not
/// be what was meant as a key.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Purpose {
    /// Password and token: the server reads them.
    Signaling,
    /// Password and shared secret of TURN: they never leave the box as they are.
    Relay,
    Authority,
    HubKey,
}

impl Own {
    /// Reads the box's own files, merged.
    ///
    /// # Errors
    /// They are not right by themselves.
    pub(super) fn read(root: &Section<'_>) -> Result<Self, ConfigError> {
        Ok(Self {
            settings: sections::settings(root)?,
            server: sections::server(root)?,
            server_secrets: sections::server_secrets(root)?,
        })
    }

    /// Refuses what `remote` makes less safe, and marks its secrets as credentials. `server` is `[signaling] url` of all
    /// files together.
    ///
    /// # Errors
    /// The first value that is less safe than the box's own files, with its place.
    pub(super) fn judge(
        &self,
        merged: &mut Settings,
        server: Option<&ServerUrl>,
        origins: &Origins,
        remote: &[&Layer],
    ) -> Result<(), ConfigError> {
        let says = |key: &str| {
            let file = origins.of(key).map(|(file, _)| file);
            file.is_some_and(|file| remote.iter().any(|layer| layer.file == file))
        };
        let refuse =
            |key: &str, problem: &str| Err(origins.error(key, Path::new("remote file"), problem));
        // Where no address is replaced, `insecure_http` of the box's own files alone decides.
        if says("signaling.url")
            && let (Some(server), Some(own)) = (server, &self.server)
        {
            if server.protection() < own.protection() {
                return refuse(
                    "signaling.url",
                    "is less protected than the address in the box's own files; name an https:// server",
                );
            }
            if !server.is_same_server(own) && self.gives_a_secret(merged) {
                return refuse(
                    "signaling.url",
                    "would send the secret that the box's own files keep for their server to another one; name another \
                     credential as password_file or token_file, or change the server in the box's own files",
                );
            }
        }
        if says("ice.relay_only") && self.settings.relay_only && !merged.relay_only {
            return refuse(
                "ice.relay_only",
                "is switched on by the box's own files, and a remote file cannot switch it off",
            );
        }
        if self.relays_by_tls_only() && !relays(merged).all(is_tls) && says("ice_servers[0].urls") {
            return refuse(
                "ice_servers[0].urls",
                "has a relay without TLS, and the box's own files name turns: only; name turns: here too",
            );
        }
        for key in ["camera.device", "screen.device"] {
            let device = match key {
                "camera.device" => &merged.camera.device,
                _ => &merged.screen.source.device,
            };
            if let VideoDevice::V4l2(name) = device
                && says(key)
                && !name.is_below_dev()
            {
                return refuse(
                    key,
                    "is not below /dev; a remote file may name nothing else",
                );
            }
        }
        self.keep_the_camera_apart(merged)
            .or_else(|()| refuse("screen.device", values::SCREEN_IS_CAMERA))?;
        self.judge_secrets(merged, &says).or_else(|key| {
            refuse(
                &key,
                "is a secret that the box's own files use for something else",
            )
        })
    }

    /// The server gets a password or a token that the box's own files name.
    fn gives_a_secret(&self, merged: &Settings) -> bool {
        let files = merged
            .signaling
            .as_ref()
            .map(|signaling| [&signaling.password_file, &signaling.token_file]);
        let mut given = files.into_iter().flatten().flatten();
        given.any(|file| self.server_secrets.contains(&file.name))
    }

    /// There is a relay, and each is reached by TLS.
    fn relays_by_tls_only(&self) -> bool {
        let own = &self.settings;
        relays(own).next().is_some() && relays(own).all(is_tls)
    }

    /// A remote file that names another camera, or none, does not make the room's camera a screen's source.
    fn keep_the_camera_apart(&self, merged: &mut Settings) -> Result<(), ()> {
        let (VideoDevice::V4l2(screen), VideoDevice::V4l2(camera)) =
            (&merged.screen.source.device, &self.settings.camera.device)
        else {
            return Ok(());
        };
        if screen.is_spelled_like(camera) {
            return Err(());
        }
        let known = |other: &VideoName| other == camera;
        if !merged.screen.cameras.iter().any(known) {
            merged.screen.cameras.push(camera.clone());
        }
        Ok(())
    }

    /// The key of a secret that the remote file takes for something else than the box's own files do.
    fn judge_secrets(
        &self,
        merged: &mut Settings,
        says: &impl Fn(&str) -> bool,
    ) -> Result<(), String> {
        let mut own = self.settings.clone();
        let own: Vec<_> = secrets(&mut own)
            .into_iter()
            .map(|(_, purpose, secret)| (purpose, secret.name.clone()))
            .chain(
                self.server_secrets
                    .iter()
                    .map(|name| (Purpose::Signaling, name.clone())),
            )
            .collect();
        for (key, purpose, secret) in secrets(merged) {
            if !says(&key) {
                continue;
            }
            secret.credential_only = true;
            let other =
                |(known, name): &(Purpose, String)| *known != purpose && *name == secret.name;
            if own.iter().any(other) {
                return Err(key);
            }
        }
        Ok(())
    }
}

fn relays(settings: &Settings) -> impl Iterator<Item = &str> {
    let urls = settings.ice_servers.iter().flat_map(|server| &server.urls);
    urls.map(String::as_str)
        .filter(|url| url.starts_with("turn"))
}

fn is_tls(url: &str) -> bool {
    url.starts_with("turns:")
}

/// Every secret of the settings with its key and purpose.
fn secrets(settings: &mut Settings) -> Vec<(String, Purpose, &mut CredentialRef)> {
    let mut found = Vec::new();
    let mut add = |key: String, purpose, secret| {
        if let Some(secret) = secret {
            found.push((key, purpose, secret));
        }
    };
    if let Some(signaling) = &mut settings.signaling {
        let key = |name: &str| format!("signaling.{name}");
        add(
            key("password_file"),
            Purpose::Signaling,
            signaling.password_file.as_mut(),
        );
        add(
            key("token_file"),
            Purpose::Signaling,
            signaling.token_file.as_mut(),
        );
        add(
            key("ca_file"),
            Purpose::Authority,
            signaling.ca_file.as_mut(),
        );
    }
    for (index, server) in settings.ice_servers.iter_mut().enumerate() {
        let key = |name: &str| format!("ice_servers[{index}].{name}");
        add(
            key("credential_file"),
            Purpose::Relay,
            server.credential_file.as_mut(),
        );
        add(
            key("secret_file"),
            Purpose::Relay,
            server.secret_file.as_mut(),
        );
        add(key("ca_file"), Purpose::Authority, server.ca_file.as_mut());
    }
    if let HubTls::File(file) = &mut settings.hub.tls {
        add("hub.tls".to_owned(), Purpose::HubKey, Some(file));
    }
    if let Some(remote) = &mut settings.remote {
        add(
            "remote.ca_file".to_owned(),
            Purpose::Authority,
            remote.ca_file.as_mut(),
        );
    }
    found
}
