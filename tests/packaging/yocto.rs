//! The Yocto layer against the rest of the tree; `yocto/README.md` tells what else was run on it.

use std::collections::BTreeMap;
use std::fs;
use std::process::Command;

use super::{Folder, said, tree};

const LAYER: &str = "yocto/meta-huddled";

fn read(path: &str) -> String {
    fs::read_to_string(tree().join(path)).unwrap()
}

fn recipe() -> String {
    read(&format!(
        "{LAYER}/recipes-huddled/huddled/huddled_{}.bb",
        env!("CARGO_PKG_VERSION")
    ))
}

/// Name and version of every crate of Cargo.lock with its checksum; read line by line, unlike the generator, which uses a
/// TOML parser.
fn locked() -> BTreeMap<(String, String), String> {
    let mut crates = BTreeMap::new();
    for block in read("Cargo.lock").split("[[package]]").skip(1) {
        let value = |key: &str| {
            block
                .lines()
                .find_map(|line| {
                    line.strip_prefix(key)?
                        .strip_prefix(" = \"")?
                        .strip_suffix('"')
                })
                .map(str::to_owned)
        };
        if let Some(checksum) = value("checksum") {
            let id = (value("name").unwrap(), value("version").unwrap());
            assert!(crates.insert(id, checksum).is_none());
        }
    }
    assert!(crates.len() > 100, "Cargo.lock was not understood");
    crates
}

#[test]
fn the_list_of_crates_is_that_of_the_lock_file() {
    let folder = Folder::new("crates");
    let list = folder.0.join("huddled-crates.inc");
    let output = Command::new(tree().join(LAYER).join("scripts/crates.py"))
        .arg(tree().join("Cargo.lock"))
        .arg(&list)
        .output()
        .expect("python3 can be started");
    assert!(output.status.success(), "{}", said(&output));
    let list = fs::read_to_string(list).unwrap();

    let mut fetched: Vec<(String, String)> = list
        .split_whitespace()
        .filter_map(|word| word.strip_prefix("crate://"))
        .map(|url| {
            let [_, name, version] = url.split('/').collect::<Vec<_>>()[..] else {
                panic!("{url}");
            };
            (name.to_owned(), version.to_owned())
        })
        .collect();
    fetched.sort();
    let locked = locked();
    assert_eq!(fetched, locked.keys().cloned().collect::<Vec<_>>());
    for ((name, version), checksum) in &locked {
        let line = format!("SRC_URI[{name}-{version}.sha256sum] = \"{checksum}\"\n");
        assert!(list.contains(&line), "{line}");
    }
}

#[test]
fn the_recipe_names_the_licences_that_may_enter_and_no_other() {
    let recipe = recipe();
    let licence = recipe
        .lines()
        .find_map(|line| line.strip_prefix("LICENSE = \"")?.strip_suffix('"'))
        .unwrap();
    let mut declared: Vec<&str> = licence
        .split(|c: char| " ()&|".contains(c))
        .filter(|word| !word.is_empty())
        .collect();
    declared.sort_unstable();
    let deny: toml::Table = toml::from_str(&read("deny.toml")).unwrap();
    let mut allowed: Vec<&str> = deny["licenses"]["allow"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| one.as_str().unwrap())
        .collect();
    allowed.sort_unstable();
    assert_eq!(declared, allowed);
}

#[test]
fn the_recipe_knows_the_features_of_the_crate() {
    let recipe = recipe();
    let manifest: toml::Table = toml::from_str(&read("Cargo.toml")).unwrap();
    let mut features: Vec<&str> = manifest["features"]
        .as_table()
        .unwrap()
        .keys()
        .map(String::as_str)
        .filter(|name| *name != "default")
        .collect();
    features.sort_unstable();
    let mut offered: Vec<&str> = recipe
        .lines()
        .filter_map(|line| {
            let (name, value) = line.strip_prefix("PACKAGECONFIG[")?.split_once("] = \"")?;
            assert!(value.starts_with(&format!("--features {name}")), "{line}");
            Some(name)
        })
        .collect();
    offered.sort_unstable();
    assert_eq!(offered, features);
    let defaults: Vec<&str> = manifest["features"]["default"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| one.as_str().unwrap())
        .collect();
    let line = format!("PACKAGECONFIG ??= \"{}\"", defaults.join(" "));
    assert!(recipe.contains(&line), "{line}");
}

/// What is in a layer and changes other recipes: appends, classes and settings; the includes of `conf/huddled` are named by
/// a build that wants them.
#[test]
fn the_layer_alone_changes_no_build() {
    let mut folders = vec![tree().join(LAYER)];
    let mut found = 0;
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let end = path.extension().and_then(|end| end.to_str());
            if path.is_dir() {
                assert!(!path.ends_with("classes"), "{}", path.display());
                assert!(!path.ends_with("classes-global"), "{}", path.display());
                folders.push(path);
            } else {
                assert!(
                    !matches!(end, Some("bbappend" | "bbclass")),
                    "{}",
                    path.display()
                );
                found += usize::from(end == Some("bb"));
            }
        }
    }
    assert_eq!(found, 3);
    // What bitbake reads of every layer says what the layer is, and nothing else.
    for line in read(&format!("{LAYER}/conf/layer.conf")).lines() {
        let name = line.split([' ', '=']).next().unwrap();
        assert!(
            ["", "#", "BBPATH", "BBFILES"].contains(&name)
                || name.starts_with("BBFILE_")
                || name.starts_with("LAYER"),
            "{line}"
        );
    }
}

#[test]
fn every_layer_is_pinned() {
    let mut pinned = 0;
    for entry in fs::read_dir(tree().join("yocto/kas")).unwrap() {
        let text = fs::read_to_string(entry.unwrap().path()).unwrap();
        let urls = text.matches("    url: ").count();
        let commits = text
            .lines()
            .filter_map(|line| line.strip_prefix("    commit: "))
            .filter(|commit| {
                commit.len() == 40 && commit.bytes().all(|byte| byte.is_ascii_hexdigit())
            })
            .count();
        assert_eq!(urls, commits, "{text}");
        pinned += commits;
    }
    assert_eq!(pinned, 3);
}

#[test]
fn the_overlay_compiles_and_has_the_pins_of_the_pin_maps() {
    let overlay = tree()
        .join(LAYER)
        .join("recipes-huddled/huddled-panel/files/huddled-panel-overlay.dts");
    let folder = Folder::new("overlay");
    let output = Command::new("dtc")
        .args(["-@", "-I", "dts", "-O", "dtb", "-o"])
        .arg(folder.0.join("panel.dtbo"))
        .arg(&overlay)
        .output()
        .expect("dtc can be started (`make setup` installs it)");
    assert!(output.status.success(), "{}", said(&output));
    assert_eq!(said(&output), "");

    let text = fs::read_to_string(overlay).unwrap();
    let mut pins: Vec<u32> = text
        .split("gpios = <&gpio ")
        .skip(1)
        .map(|rest| rest.split(' ').next().unwrap().parse().unwrap())
        .collect();
    pins.sort_unstable();
    for map in ["panel-raspberrypi4.toml", "panel-raspberrypi5.toml"] {
        let map: toml::Table = toml::from_str(&read(&format!("config/{map}"))).unwrap();
        let mut lines: Vec<u32> = ["buttons", "leds"]
            .iter()
            .flat_map(|kind| map["panel"][*kind].as_table().unwrap().values())
            .map(|line| u32::try_from(line["line"].as_integer().unwrap()).unwrap())
            .collect();
        lines.sort_unstable();
        // The share button has no key of the kernel's that means it.
        lines.retain(|line| *line != 23);
        assert_eq!(lines, pins);
    }
}
