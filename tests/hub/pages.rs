//! The guest page.

use super::*;

#[tokio::test]
async fn pages_come_with_strict_headers_and_nothing_else_comes() {
    let folder = Folder::new("guest");
    std::fs::write(folder.path().join("index.html"), "<!doctype html>").unwrap();
    std::fs::write(folder.path().join("guest.js"), "1").unwrap();
    std::fs::write(folder.path().join(".hidden.js"), "1").unwrap();
    let pages = folder.path().to_owned();
    let mut hub = Running::start(|options| options.settings.pages = pages).await;
    let ask = async |path: &str| {
        http()
            .get(format!("http://{}/{path}", hub.address))
            .send()
            .await
            .unwrap()
    };
    for (path, kind) in [
        ("", "text/html; charset=utf-8"),
        ("guest.js", "text/javascript; charset=utf-8"),
    ] {
        let answer = ask(path).await;
        assert_eq!(answer.status(), 200, "{path}");
        let header = |name: &str| answer.headers()[name].to_str().unwrap();
        assert_eq!(header("content-type"), kind);
        assert!(header("content-security-policy").contains("frame-ancestors 'none'"));
        assert_eq!(header("x-content-type-options"), "nosniff");
        assert_eq!(header("referrer-policy"), "no-referrer");
        assert_eq!(header("cache-control"), "no-cache");
        assert!(header("permissions-policy").contains("display-capture=(self)"));
    }
    for path in [
        ".hidden.js",
        "none.js",
        "..%2fhub-key",
        "%2e%2e/hub-key",
        "a/b.js",
        "guest.js/",
    ] {
        assert_eq!(ask(path).await.status(), 404, "{path}");
    }
    // A page that is installed while the hub runs is there, and one that is removed is not.
    std::fs::remove_file(folder.path().join("index.html")).unwrap();
    let answer = ask("").await;
    assert_eq!(answer.status(), 503);
    let text = answer.text().await.unwrap();
    assert!(
        text.contains("make guest") && text.contains("[hub] pages"),
        "{text}"
    );
    hub.stop().await;
}
