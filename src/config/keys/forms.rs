//! The forms that texts have.

use std::path::Path;

use super::super::server_url::ServerUrl;
use super::values;

/// What a text must look like.
pub(in super::super) struct Form {
    /// For the documentation.
    pub(in super::super) says: &'static str,
    /// A regular expression (ECMA-262, as JSON schema has it) that every good text matches and most bad ones do not;
    /// empty where there is nothing to say.
    pub(in super::super) pattern: &'static str,
    /// The complaint, with what to write instead.
    pub(in super::super) check: fn(&str) -> Result<(), String>,
}

/// Anything on one line.
pub(super) static PLAIN: Form = Form {
    says: "text of 1 to 255 characters on one line",
    pattern: r"^[^\u0000-\u001f\u007f]{1,255}$",
    check: |text| values::plain(text).map(drop),
};
pub(super) static ID: Form = Form {
    says: "id: 1 to 128 letters, digits, `-`, `_` and `.`",
    pattern: r"^[A-Za-z0-9._-]{1,128}$",
    check: |text| values::id(text).map(drop),
};
pub(super) static PATH: Form = Form {
    says: "path; a relative one starts from the folder of the file that says it",
    pattern: r"^[^\u0000-\u001f\u007f]{1,255}$",
    check: |text| values::path(text, Path::new("")).map(drop),
};
pub(super) static CREDENTIAL: Form = Form {
    says: "name of a systemd credential, else path of a file",
    pattern: r"^[^\u0000-\u001f\u007f]{1,255}$",
    check: |text| values::credential(text, Path::new("")).map(drop),
};
pub(super) static ORIGIN: Form = Form {
    says: "address of a server: `https://HOST`, or `http://HOST` on this machine, with `:PORT` if need be",
    pattern: r"^https?://[^/?#@\s]+/?$",
    check: |text| ServerUrl::parse(text).map(drop),
};
pub(super) static PREFIX: Form = Form {
    says: "path on the server, such as `/api/v1`",
    pattern: r"^(/[A-Za-z0-9._~-]+)*/?$",
    check: |text| values::prefix(text).map(drop),
};
pub(super) static EMAIL: Form = Form {
    says: "e-mail address",
    pattern: r"^[^@\s]+@\S+$",
    check: |text| values::email(text).map(drop),
};
pub(super) static ICE_URL: Form = Form {
    says: "`stun:HOST:PORT`, `turn:HOST:PORT` or `turns:HOST:PORT?transport=tcp`",
    pattern: r"^(stuns?:[^/?@\s]+|turns?:[^/?@\s]+(\?transport=(udp|tcp))?)$",
    check: |text| values::ice_url(text).map(drop),
};
pub(super) static PROXY: Form = Form {
    says: "`http://HOST:PORT`",
    pattern: r"^http://[^/?#@\s]+/?$",
    check: |text| values::proxy(text).map(drop),
};
pub(super) static VIDEO_DEVICE: Form = Form {
    says: "`none`, a V4L2 node or its stable name, without `.` and `..`; simulated: `sim:testcard`, `sim:slides`, `sim:file:PATH`",
    pattern: r"^(sim:(testcard|slides|file:.+)|(?!sim:)\S+)$",
    check: |text| values::video_device(text, Path::new("")).map(drop),
};
pub(super) static MICROPHONE_DEVICE: Form = Form {
    says: "`none` or a plain ALSA name: `PLUGIN:CARD,DEV,SUBDEV`, `PLUGIN:CARD=CARD,DEV=N,SUBDEV=N` (what follows the card may be left out; `PLUGIN` is `hw`, `plughw`, `sysdefault`, `default`, `dmix` or `dsnoop`), or the bare name of a PCM that the machine's ALSA configuration defines; simulated: `sim:tone`, `sim:tone:HZ`, `sim:speech`, `sim:silence`, `sim:file:PATH`",
    pattern: r"^(sim:(tone(:[0-9]+)?|speech|silence|file:.+)|(hw|plughw|sysdefault|default|dmix|dsnoop):([A-Za-z0-9_][A-Za-z0-9_-]{0,14}(,[0-9]{1,3}){0,2}|CARD=[A-Za-z0-9_][A-Za-z0-9_-]{0,14}(,DEV=[0-9]{1,3})?(,SUBDEV=[0-9]{1,3})?)|[A-Za-z0-9_][A-Za-z0-9_-]{0,63})$",
    check: |text| values::microphone_device(text, Path::new("")).map(drop),
};
pub(super) static SPEAKER_DEVICE: Form = Form {
    says: "`none` or a plain ALSA name: `PLUGIN:CARD,DEV,SUBDEV`, `PLUGIN:CARD=CARD,DEV=N,SUBDEV=N` (what follows the card may be left out; `PLUGIN` is `hw`, `plughw`, `sysdefault`, `default`, `dmix` or `dsnoop`), or the bare name of a PCM that the machine's ALSA configuration defines; simulated: `sim:meter`, `sim:wav:PATH`",
    pattern: r"^(sim:(meter|wav:.+)|(hw|plughw|sysdefault|default|dmix|dsnoop):([A-Za-z0-9_][A-Za-z0-9_-]{0,14}(,[0-9]{1,3}){0,2}|CARD=[A-Za-z0-9_][A-Za-z0-9_-]{0,14}(,DEV=[0-9]{1,3})?(,SUBDEV=[0-9]{1,3})?)|[A-Za-z0-9_][A-Za-z0-9_-]{0,63})$",
    check: |text| values::speaker_device(text, Path::new("")).map(drop),
};
pub(super) static ADDRESS: Form = Form {
    says: "`ADDRESS:PORT` to listen on",
    pattern: r"^(\[[0-9A-Fa-f:.%]+\]|[0-9.]+):[0-9]{1,5}$",
    check: |text| values::address(text).map(drop),
};
pub(super) static HOST: Form = Form {
    says: "name of a host, without scheme and port",
    pattern: r"^[A-Za-z0-9._-]+$",
    check: |text| values::host(text).map(drop),
};
pub(super) static HTTPS: Form = Form {
    says: "address of a file: `https://HOST/PATH`",
    pattern: r"^https://[^/?#@\s]+/[!-~]+$",
    check: |text| values::https(text).map(drop),
};
pub(super) static PUBLIC_KEY: Form = Form {
    says: "minisign public key: 56 characters that begin with `RW`",
    pattern: r"^RW[A-Za-z0-9+/]{54}$",
    check: |text| values::public_key(text).map(drop),
};
pub(super) static TLS: Form = Form {
    says: "`off`, `self-signed`, or the file (credential or path) of a PEM certificate chain with its key",
    pattern: r"^[^\u0000-\u001f\u007f]{1,255}$",
    check: |text| values::tls(text, Path::new("")).map(drop),
};
