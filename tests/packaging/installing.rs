//! `scripts/install.sh`, which `make install`, `make uninstall` and the packages use.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::{Folder, said, tree};

/// All files and folders below, relative to it.
fn below(root: &Path) -> BTreeSet<PathBuf> {
    let mut found = BTreeSet::new();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path.clone());
            }
            found.insert(path.strip_prefix(root).unwrap().to_owned());
        }
    }
    found
}

fn install(folder: &Folder, order: &str, prefix: &str) -> String {
    let guest = folder.0.join("guest");
    fs::create_dir_all(&guest).unwrap();
    fs::write(guest.join("index.html"), "page").unwrap();
    let output = Command::new(tree().join("scripts/install.sh"))
        .arg(order)
        .env("DESTDIR", folder.0.join("root"))
        .env("PREFIX", prefix)
        .env(
            "BUILT",
            Path::new(env!("CARGO_BIN_EXE_huddled")).parent().unwrap(),
        )
        .env("GUEST", &guest)
        .env("MADE", folder.0.join("made"))
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", said(&output));
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn uninstalling_removes_what_installing_laid_and_nothing_else() {
    let folder = Folder::new("install");
    let root = folder.0.join("root");
    // Somebody else's.
    fs::create_dir_all(root.join("usr/bin")).unwrap();
    fs::write(root.join("usr/bin/other"), "").unwrap();
    let before = below(&root);

    install(&folder, "install", "/usr");
    let installed = below(&root);
    let listed: BTreeSet<PathBuf> = install(&folder, "list", "/usr")
        .lines()
        .map(|line| line.trim_start_matches('/').into())
        .collect();
    let files: BTreeSet<PathBuf> = installed
        .difference(&before)
        .filter(|path| root.join(path).is_file())
        .cloned()
        .collect();
    let folders = |path: &&PathBuf| !root.join(path).is_dir();
    let listed_files: BTreeSet<PathBuf> = listed.iter().filter(folders).cloned().collect();
    assert_eq!(files, listed_files);
    for wanted in [
        "usr/bin/huddled",
        "usr/bin/huddlectl",
        "usr/lib/systemd/system/huddled.service",
        "usr/lib/sysusers.d/huddled.conf",
        "usr/lib/tmpfiles.d/huddled.conf",
        "usr/lib/udev/rules.d/60-huddled.rules",
        "usr/share/huddled/guest/index.html",
        "usr/share/man/man1/huddled.1",
        "usr/share/man/man1/huddled-safe-state.1",
        "usr/share/man/man1/huddlectl-status.1",
        "usr/share/bash-completion/completions/huddled",
        "usr/share/doc/huddled/examples/huddled.example.toml",
    ] {
        assert!(files.contains(Path::new(wanted)), "{wanted}");
    }
    let mode = |path: &str| fs::metadata(root.join(path)).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode("usr/bin/huddled"), 0o755);
    assert_eq!(mode("usr/lib/systemd/system/huddled.service"), 0o644);

    // Again, over itself; then the administrator's file must survive.
    install(&folder, "install", "/usr");
    assert_eq!(below(&root), installed);
    let own = root.join("etc/huddled/config.toml");
    fs::write(&own, "").unwrap();
    install(&folder, "uninstall", "/usr");
    assert!(own.is_file());
    fs::remove_file(&own).unwrap();
    install(&folder, "uninstall", "/usr");
    let left: Vec<PathBuf> = below(&root)
        .difference(&before)
        // Folders that belong to the system.
        .filter(|path| !root.join(path).is_dir() || path.ends_with("huddled"))
        .cloned()
        .collect();
    assert!(left.is_empty(), "{left:?}");
    assert!(root.join("usr/bin/other").is_file());
}

#[test]
fn another_prefix_reaches_the_units() {
    let folder = Folder::new("prefix");
    install(&folder, "install", "/opt/huddled");
    let root = folder.0.join("root");
    let units = root.join("opt/huddled/lib/systemd/system");
    let unit = fs::read_to_string(units.join("huddled.service")).unwrap();
    assert!(unit.contains("\nExecStart=/opt/huddled/bin/huddled run\n"));
    assert!(unit.contains("\nExecStopPost=-/opt/huddled/bin/huddled safe-state\n"));
    assert!(!unit.contains("/usr/bin"), "{unit}");
    assert!(root.join("opt/huddled/bin/huddled").is_file());
}
