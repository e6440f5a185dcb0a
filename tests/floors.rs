//! The structure: who imports whom, how far simulated devices and other people's types reach, that `room` stands
//! alone, how long files are, which compiler the dependencies ask for.

use std::fs;
use std::path::Path;
use std::process::Command;

use code::{Source, climbs, code, imports, line_of, simulation, words};

mod code;

/// Every module of the crate's root and its floor. A module imports from lower floors only, so never from a sibling.
const FLOORS: &[(&str, u8)] = &[
    ("room", 0),
    ("journal_budget", 0),
    ("config", 1),
    ("wire", 1),
    ("causes", 1),
    ("clock", 1),
    ("events", 1),
    ("files", 1),
    ("manual", 1),
    ("web", 1),
    ("devices", 2),
    ("socketio", 2),
    ("host", 2),
    ("control", 2),
    ("hub", 2),
    ("remote", 2),
    ("media", 3),
    ("rtc", 4),
    ("app", 5),
    ("main", 6),
    ("bin", 5),
];

/// Where words about simulation may stand outside comments and unit tests, and which. Elsewhere a simulated device
/// is a device like any other.
const SIMULATION: &[(&str, &[&str])] = &[
    // The schema and the devices themselves: whatever they need.
    ("config", &["*"]),
    ("devices", &["*"]),
    // The flag that lets `huddled run` take them.
    ("main", &["allow_sim", "sim", "simulated"]),
    // The contract: presses come from the control socket only while the panel is simulated, and the snapshot says so.
    (
        "room",
        &["sim", "simulated", "panel_simulated", "PanelNotSimulated"],
    ),
    (
        "control",
        &["sim", "simulated", "panel_simulated", "PanelNotSimulated"],
    ),
    ("bin", &["simulated"]),
    // Hands the flag and the contract's values on.
    ("app", &["allow_sim", "sim", "simulated", "panel_simulated"]),
];

/// A crate whose types stay inside one module.
struct Confined {
    name: &'static str,
    home: &'static str,
    /// Another module, and which paths it may name all the same.
    exception: Option<(&'static str, &'static [&'static str])>,
}

const CONFINED: &[Confined] = &[
    Confined {
        name: "webrtc",
        home: "rtc",
        exception: None,
    },
    Confined {
        name: "rtc",
        home: "rtc",
        // The payload format of RFC 6184, so that a picture is packetised once for all peers.
        exception: Some(("media", &["rtc::rtp::codec::h264", "rtc::rtp::packetizer"])),
    },
    Confined {
        name: "rust_socketio",
        home: "socketio",
        exception: None,
    },
    Confined {
        name: "v4l",
        home: "devices",
        exception: None,
    },
    Confined {
        name: "gpiocdev",
        home: "devices",
        exception: None,
    },
    Confined {
        name: "minisign_verify",
        home: "remote",
        exception: None,
    },
    Confined {
        name: "rppal",
        home: "devices",
        exception: None,
    },
];

/// What a value without clock, thread, file and lock has no use for.
const IMPURE: &[&str] = &[
    "crate::",
    "std::fs",
    "std::io",
    "std::net",
    "std::env",
    "std::process",
    "std::thread",
    "Instant",
    "SystemTime",
    "Mutex",
    "RwLock",
    "Condvar",
    "HashMap",
    "HashSet",
];

/// Lines at which a file is looked at, and at which it is refused.
const LONG: usize = 500;
const TOO_LONG: usize = 800;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn sources() -> Vec<Source> {
    let src = root().join("src");
    let mut folders = vec![src.clone()];
    let mut found = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("src can be read") {
            let path = entry.expect("src can be read").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                found.push(Source {
                    text: fs::read_to_string(&path).expect("a source file is UTF-8"),
                    path: path.strip_prefix(&src).expect("it lies in src").to_owned(),
                });
            }
        }
    }
    assert!(found.len() > 10, "src was not found");
    found.sort_by(|one, other| one.path.cmp(&other.path));
    found
}

fn demand(violations: &[String]) {
    assert!(violations.is_empty(), "\n{}\n", violations.join("\n"));
}

fn floor(module: &str) -> Option<u8> {
    FLOORS
        .iter()
        .find(|(name, _)| *name == module)
        .map(|(_, floor)| *floor)
}

fn import_violations(source: &Source) -> Vec<String> {
    let module = source.module();
    let Some(own) = floor(&module) else {
        return vec![format!(
            "src/{}: {module} has no floor; give it one in tests/floors.rs",
            source.path.display()
        )];
    };
    let code = code(&source.text, true);
    let prefix = match module.as_str() {
        "main" | "bin" => "huddled::",
        _ => "crate::",
    };
    let direct = imports(&code, prefix)
        .into_iter()
        .map(|(at, name)| (at, name, format!("{prefix}{name}")));
    let climbing = climbs(&source.path, &code)
        .into_iter()
        .map(|(at, name)| (at, name, format!("super::...::{name}")));
    direct
        .chain(climbing)
        .filter(|(_, name, _)| {
            *name != module && floor(name).is_none_or(|imported| imported >= own)
        })
        .map(|(at, _, path)| {
            format!(
                "src/{}:{}: {path} is not below {module}",
                source.path.display(),
                line_of(&code, at)
            )
        })
        .collect()
}

#[test]
fn every_module_imports_from_lower_floors_only() {
    let sources = sources();
    let violations: Vec<_> = sources
        .iter()
        .filter(|source| source.path != Path::new("lib.rs"))
        .flat_map(import_violations)
        .collect();
    demand(&violations);
}

#[test]
fn the_check_of_imports_sees_every_way_to_write_one() {
    let violations = |path: &str, text: &str| {
        import_violations(&Source {
            path: path.into(),
            text: text.to_owned(),
        })
        .len()
    };
    // Downwards, and to itself.
    assert_eq!(
        violations(
            "media/mod.rs",
            "use crate::{devices::X, room::Y, media::Z};"
        ),
        0
    );
    assert_eq!(
        violations(
            "rtc/session.rs",
            "use super::media::Own; fn f() { crate::clock::now() }"
        ),
        0
    );
    // Upwards and sideways.
    assert_eq!(violations("media/mod.rs", "use crate::rtc::Session;"), 1);
    assert_eq!(
        violations(
            "media/mod.rs",
            "use crate::{\n room::{A, B},\n rtc::C,\n app};"
        ),
        2
    );
    assert_eq!(
        violations("host/store.rs", "fn f() { crate::control::g() }"),
        1
    );
    assert_eq!(violations("host/store.rs", "use super::super::control;"), 1);
    assert_eq!(violations("host/mod.rs", "use super::control;"), 1);
    assert_eq!(violations("clock.rs", "use crate::events::E;"), 1);
    assert_eq!(violations("room/mod.rs", "pub use crate::config::X;"), 1);
    assert_eq!(violations("newcomer.rs", ""), 1);
    // Not imports.
    assert_eq!(
        violations(
            "host/mod.rs",
            "// crate::app::x\nconst A: &str = \"crate::app\"; /* crate::rtc::x */ #[cfg(test)]\nmod tests { use super::store; }"
        ),
        0
    );
}

fn simulation_violations(source: &Source) -> Vec<String> {
    let module = source.module();
    let allowed = SIMULATION
        .iter()
        .find(|(name, _)| *name == module)
        .map_or(&[] as &[&str], |(_, words)| words);
    if source.path.ends_with("tests.rs") {
        // A `#[cfg(test)]` module in a file of its own.
        return Vec::new();
    }
    let code = code(source.shipped(), false);
    simulation(&code)
        .into_iter()
        .filter(|(_, word)| !allowed.contains(word) && allowed != ["*"])
        .map(|(at, word)| {
            format!(
                "src/{}:{}: `{word}`: {module} is not to know about simulation",
                source.path.display(),
                line_of(&code, at)
            )
        })
        .collect()
}

#[test]
fn simulation_is_known_only_where_it_is_listed() {
    let violations: Vec<_> = sources().iter().flat_map(simulation_violations).collect();
    demand(&violations);
}

#[test]
fn the_check_of_simulation_knows_the_word_from_others() {
    for word in [
        "sim",
        "SIM",
        "allow_sim",
        "SimTestcard",
        "is_simulated",
        "DeviceSim",
        "Simulation",
    ] {
        assert_eq!(simulation(word).len(), 1, "{word}");
    }
    for word in [
        "simulcast",
        "simultaneous",
        "similar",
        "simple",
        "SIMD",
        "dissimilar",
    ] {
        assert_eq!(simulation(word), [], "{word}");
    }
    let media = |text: &str| {
        simulation_violations(&Source {
            path: "media/h264.rs".into(),
            text: text.to_owned(),
        })
        .len()
    };
    assert_eq!(media("if device == \"sim:testcard\" {}"), 1);
    assert_eq!(media("// like a sim\n#[cfg(test)]\nmod tests { sim }"), 0);
}

fn confinement_violations(source: &Source) -> Vec<String> {
    let module = source.module();
    let code = code(&source.text, true);
    let mut violations = Vec::new();
    for Confined {
        name,
        home,
        exception,
    } in CONFINED.iter().filter(|crate_| crate_.home != module)
    {
        let excepted = exception
            .filter(|(other, _)| *other == module)
            .map_or(&[] as &[&str], |(_, paths)| paths);
        for at in words(&code, name) {
            let before = code[..at].trim_end();
            let path = &code[at..];
            // A path, or `use webrtc as x`; and not our own module of the same name.
            let is_crate = (path[name.len()..].starts_with("::") && !before.ends_with("::"))
                || before.ends_with("use") && !path[name.len()..].starts_with("::")
                || before.ends_with("extern crate");
            if is_crate && !excepted.iter().any(|allowed| path.starts_with(allowed)) {
                violations.push(format!(
                    "src/{}:{}: types of `{name}` stay in src/{home}",
                    source.path.display(),
                    line_of(&code, at)
                ));
            }
        }
    }
    violations
}

#[test]
fn types_of_the_network_crates_stay_in_their_folders() {
    let violations: Vec<_> = sources().iter().flat_map(confinement_violations).collect();
    demand(&violations);
}

#[test]
fn the_check_of_confinement_knows_a_crate_from_a_module() {
    let violations = |path: &str, text: &str| {
        confinement_violations(&Source {
            path: path.into(),
            text: text.to_owned(),
        })
        .len()
    };
    assert_eq!(
        violations(
            "app/driver.rs",
            "use crate::rtc::Sessions; use crate::{rtc, room};"
        ),
        0
    );
    assert_eq!(
        violations("app/driver.rs", "use webrtc::PeerConnection;"),
        1
    );
    assert_eq!(violations("app/driver.rs", "fn f(x: rtc::Packet) {}"), 1);
    assert_eq!(
        violations("media/h264.rs", "use rtc::rtp::codec::h264::H264Payloader;"),
        0
    );
    assert_eq!(
        violations("media/h264.rs", "use rtc::rtp::codec::opus::Opus;"),
        1
    );
    assert_eq!(violations("app/mod.rs", "use rust_socketio as s;"), 1);
    assert_eq!(
        violations("app/mod.rs", "let target = \"rust_socketio\";"),
        0
    );
    assert_eq!(violations("rtc/mod.rs", "use webrtc::x; use rtc::y;"), 0);
}

#[test]
fn the_room_has_no_clock_thread_file_or_lock_and_names_itself_by_super() {
    let mut violations = Vec::new();
    for source in sources() {
        if source.module() != "room" {
            continue;
        }
        let code = code(&source.text, true);
        for name in IMPURE {
            for at in words(&code, name) {
                violations.push(format!(
                    "src/{}:{}: {name} has no place in room",
                    source.path.display(),
                    line_of(&code, at)
                ));
            }
        }
    }
    demand(&violations);
}

#[test]
fn the_room_compiles_alone() {
    let output = Command::new(std::env::var_os("RUSTC").unwrap_or("rustc".into()))
        .args(["--edition", "2024", "--crate-type", "lib"])
        .args(["--crate-name", "room", "--emit", "metadata", "--out-dir"])
        .arg(env!("CARGO_TARGET_TMPDIR"))
        .arg(root().join("src/room/mod.rs"))
        .output()
        .expect("rustc can be started");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

#[test]
fn every_shipped_configuration_is_accepted() {
    let mut count = 0;
    for entry in fs::read_dir(root().join("config")).expect("config can be read") {
        let path = entry.expect("config can be read").path();
        if path
            .extension()
            .is_some_and(|extension| extension == "toml")
        {
            let text = fs::read_to_string(&path).expect("a configuration is UTF-8");
            if let Err(error) = huddled::config::parse(&text, &path) {
                panic!("{error}");
            }
            count += 1;
        }
    }
    assert!(count >= 2, "config was not found");
}

#[test]
#[allow(clippy::print_stdout)]
fn no_file_is_too_long() {
    let mut violations = Vec::new();
    for source in sources() {
        let lines = source.text.lines().count();
        let finding = format!("src/{}: {lines} lines", source.path.display());
        if lines > TOO_LONG {
            violations.push(finding);
        } else if lines > LONG {
            println!("{finding}: think of splitting it");
        }
    }
    demand(&violations);
}

/// The numbers of a version, missing ones as zero.
fn version(text: &str) -> Vec<u64> {
    let mut numbers: Vec<u64> = text
        .split('.')
        .map(|number| number.parse().expect("a rust-version is made of numbers"))
        .collect();
    numbers.resize(3, 0);
    numbers
}

#[test]
fn no_dependency_asks_for_a_newer_compiler_than_we_do() {
    let cargo = std::env::var_os("CARGO").unwrap_or("cargo".into());
    let rustc = Command::new(std::env::var_os("RUSTC").unwrap_or("rustc".into()))
        .arg("-vV")
        .output()
        .expect("rustc can be started");
    let about = String::from_utf8_lossy(&rustc.stdout).into_owned();
    let host = about
        .lines()
        .find_map(|line| line.strip_prefix("host: "))
        .expect("rustc -vV names the host");
    let output = Command::new(cargo)
        .args(["metadata", "--format-version", "1", "--locked", "--offline"])
        .args(["--filter-platform", host])
        .current_dir(root())
        .output()
        .expect("cargo can be started");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let metadata: serde_json::Value =
        serde_json::from_slice(&output.stdout).expect("cargo metadata writes JSON");
    let packages = metadata["packages"].as_array().expect("there are packages");
    let own = packages
        .iter()
        .find(|package| package["name"] == "huddled")
        .and_then(|package| package["rust_version"].as_str())
        .expect("huddled declares its rust-version");
    let newer: Vec<_> = packages
        .iter()
        .filter(|package| {
            let declared = package["rust_version"].as_str();
            declared.is_some_and(|declared| version(declared) > version(own))
        })
        .map(|package| {
            format!(
                "{} {} asks for Rust {}, newer than {own}",
                package["name"], package["version"], package["rust_version"]
            )
        })
        .collect();
    assert!(packages.len() > 50, "cargo metadata lists too little");
    demand(&newer);
}
