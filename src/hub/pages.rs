//! The guest page: the files of one folder, read when they are asked for, so that `make guest` needs no restart.

use std::fs::{self, File};
use std::io::{ErrorKind, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::{HeaderName, HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use tokio::sync::Semaphore;

use crate::journal_budget::LineBudget;
use crate::web::Refusal;

/// The largest file served, bytes.
const LARGEST: u64 = 8 * 1024 * 1024;
const INDEX: &str = "index.html";
/// Files read at once; each needs a thread for a moment.
const READERS: usize = 4;

static READING: Semaphore = Semaphore::const_new(READERS);
static ABSENT: LineBudget = LineBudget::new(
    module_path!(),
    log::Level::Warn,
    "requests for a guest page that is not installed",
);
static DEFECTS: LineBudget = LineBudget::new(
    module_path!(),
    log::Level::Error,
    "pages whose reading ended in a defect",
);

/// What a page of ours may do: nothing but what it needs. `ws:` and `wss:` because `'self'` does not cover them in
/// every browser that is still in use.
const HEADERS: [(HeaderName, &str); 5] = [
    (
        header::CONTENT_SECURITY_POLICY,
        "default-src 'self'; connect-src 'self' ws: wss:; img-src 'self' data:; media-src 'self' blob: mediastream:; \
         style-src 'self'; script-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'",
    ),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    // The page's address holds the token, behind a #, which no Referer shows; this is for what a later page adds.
    (header::REFERRER_POLICY, "no-referrer"),
    (
        HeaderName::from_static("permissions-policy"),
        "camera=(self), microphone=(self), display-capture=(self)",
    ),
    // Small, and on the same network: rather asked for again than an old one after an update.
    (header::CACHE_CONTROL, "no-cache"),
];

/// The routes of the pages: everything nobody else has.
pub(super) fn router(folder: PathBuf) -> Router {
    Router::new()
        .fallback(page)
        .with_state(Arc::new(folder))
        .layer(axum::middleware::map_response(guarded))
}

/// Adds the headers that hold for every answer of the hub.
async fn guarded(mut response: Response) -> Response {
    for (name, value) in HEADERS {
        response
            .headers_mut()
            .insert(name, HeaderValue::from_static(value));
    }
    response
}

async fn page(State(folder): State<Arc<PathBuf>>, request: Request) -> Response {
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        return missing().into_response();
    }
    let path = request.uri().path().trim_start_matches('/');
    let name = if path.is_empty() { INDEX } else { path };
    let Some(kind) = kind(name) else {
        return missing().into_response();
    };
    let name = name.to_owned();
    // Never closed; without a permit the file is read all the same.
    let _permit = READING.acquire().await;
    let reading = tokio::task::spawn_blocking(move || {
        read(&folder, &name).map_err(|found| (found, folder, name))
    });
    match reading.await {
        Ok(Ok(content)) => ([(header::CONTENT_TYPE, kind)], content).into_response(),
        Ok(Err((found, folder, name))) if name == INDEX => {
            if ABSENT.admits(INDEX) {
                log::warn!("there is no guest page in {}: {found}", folder.display());
            }
            absent(&folder).into_response()
        }
        Ok(Err((found, _, name))) => {
            log::debug!(file = &*name; "not served: {found}");
            missing().into_response()
        }
        Err(defect) => {
            if DEFECTS.admits("pages") {
                log::error!("reading a page ended in a defect: {defect}");
            }
            missing().into_response()
        }
    }
}

/// The type of a file by its name, if it is the plain name of a file that a page may consist of.
fn kind(name: &str) -> Option<&'static str> {
    let plain = name.len() <= 100
        && !name.starts_with('.')
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_'));
    let (_, extension) = name.rsplit_once('.').filter(|_| plain)?;
    Some(match extension {
        "html" => "text/html; charset=utf-8",
        "js" | "mjs" => "text/javascript; charset=utf-8",
        "css" => "text/css; charset=utf-8",
        "json" | "map" => "application/json",
        "txt" => "text/plain; charset=utf-8",
        "svg" => "image/svg+xml",
        "png" => "image/png",
        "ico" => "image/x-icon",
        "woff2" => "font/woff2",
        _ => return None,
    })
}

/// The content of a file that really lies in the folder: links inside it are fine, links out of it are not.
fn read(folder: &Path, name: &str) -> Result<Vec<u8>, String> {
    let words = |error: std::io::Error| match error.kind() {
        ErrorKind::NotFound => "not found".to_owned(),
        _ => error.to_string(),
    };
    let folder = fs::canonicalize(folder).map_err(words)?;
    let path = fs::canonicalize(folder.join(name)).map_err(words)?;
    if path.parent() != Some(&*folder) {
        return Err("it lies elsewhere".to_owned());
    }
    let file = File::open(path).map_err(words)?;
    let about = file.metadata().map_err(words)?;
    if !about.is_file() || about.len() > LARGEST {
        return Err("it is no file of a size that is served".to_owned());
    }
    let mut content = Vec::with_capacity(about.len() as usize);
    file.take(LARGEST)
        .read_to_end(&mut content)
        .map_err(words)?;
    Ok(content)
}

fn missing() -> Refusal {
    Refusal::new(StatusCode::NOT_FOUND, "not-found", "there is no such page")
}

fn absent(folder: &Path) -> impl IntoResponse {
    let text = format!(
        "The hub runs, but its guest page is not installed: there is no {INDEX} in {}.\n\
         Run `make guest`, or name the folder of the page in the setting [hub] pages.\n",
        folder.display()
    );
    let kind = [(header::CONTENT_TYPE, "text/plain; charset=utf-8")];
    (StatusCode::SERVICE_UNAVAILABLE, kind, text)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use proptest::prelude::*;

    use super::*;
    use crate::hub::files::tests::Folder;

    #[test]
    fn only_plain_names_of_known_kinds_are_served() {
        for name in [
            "index.html",
            "guest.js",
            "socket.io.min.js",
            "a-b_c.CSS.css",
        ] {
            assert!(kind(name).is_some(), "{name}");
        }
        for name in [
            "",
            ".",
            "..",
            ".hidden.js",
            "../secret.html",
            "a/b.js",
            "..%2fsecret.html",
            "a\\b.js",
            "hub-key",
            "cert.pem",
            "a.js\0",
            "ä.js",
            "js",
        ] {
            assert!(kind(name).is_none(), "{name}");
        }
    }

    #[test]
    fn a_link_leads_nowhere_outside() {
        let folder = Folder::new("pages");
        let pages = folder.path().join("pages");
        fs::create_dir(&pages).unwrap();
        fs::write(folder.path().join("secret.txt"), "s").unwrap();
        fs::write(pages.join("a.txt"), "a").unwrap();
        symlink("../secret.txt", pages.join("out.txt")).unwrap();
        symlink("a.txt", pages.join("in.txt")).unwrap();
        fs::create_dir(pages.join("folder.txt")).unwrap();
        assert_eq!(read(&pages, "a.txt").unwrap(), b"a");
        assert_eq!(read(&pages, "in.txt").unwrap(), b"a");
        for name in ["out.txt", "folder.txt", "none.txt"] {
            assert!(read(&pages, name).is_err(), "{name}");
        }
        // The folder itself may be reached by one.
        let way = folder.path().join("way");
        symlink("pages", &way).unwrap();
        assert!(read(&way, "a.txt").is_ok());
    }

    proptest! {
        #[test]
        fn no_name_leads_out_of_the_folder(name in "\\PC{0,40}") {
            if kind(&name).is_some() {
                let path = Path::new("/pages").join(&name);
                prop_assert_eq!(path.parent(), Some(Path::new("/pages")));
            }
        }
    }
}
