//! What is installed: the units as systemd reads them, and `make install` with its reverse.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "these are tests, their parts that carry no #[test] too"
)]

mod installing;
mod steps;
mod yocto;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

const UNITS: [&str; 4] = [
    "huddled.service",
    "huddled-failed.service",
    "huddled-hub.service",
    "huddled-wanted.target",
];
/// Highest exposure that `systemd-analyze security` may find, in tenths.
const THRESHOLD: &str = "--threshold=15";

fn tree() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// A folder of the test's own, removed at its end.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let id = std::process::id();
        let path = std::env::temp_dir().join(format!("huddled-packaging-{name}-{id}"));
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // Only tidiness.
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn systemd_analyze(arguments: &[&str], units: &[PathBuf]) -> Output {
    Command::new("systemd-analyze")
        .args(arguments)
        .args(units)
        .env("SYSTEMD_LOG_LEVEL", "warning")
        .output()
        .expect("systemd-analyze can be started (`make setup` installs it)")
}

fn said(output: &Output) -> String {
    format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )
}

#[test]
fn the_units_are_what_systemd_understands() {
    let folder = Folder::new("verify");
    let units: Vec<PathBuf> = UNITS
        .iter()
        .map(|name| {
            // The programs must be there for this, and are not installed.
            let text = fs::read_to_string(tree().join("systemd").join(name)).unwrap();
            let text = text.replace("/usr/bin/huddled", env!("CARGO_BIN_EXE_huddled"));
            let path = folder.0.join(name);
            fs::write(&path, text).unwrap();
            path
        })
        .collect();
    // One by one: all are started as if together, and the failed unit is refused while the box is being started.
    for unit in units {
        let output = systemd_analyze(&["verify", "--man=no"], &[unit]);
        let complaints: Vec<String> = said(&output)
            .lines()
            .filter(|line| line.contains("huddled"))
            .map(str::to_owned)
            .collect();
        assert!(complaints.is_empty(), "{complaints:#?}");
        assert!(output.status.success(), "{}", said(&output));
    }
}

#[test]
fn the_units_expose_little() {
    for name in UNITS.iter().filter(|name| name.ends_with(".service")) {
        let unit = tree().join("systemd").join(name);
        let arguments = ["security", "--offline=yes", "--no-pager", THRESHOLD];
        let output = systemd_analyze(&arguments, &[unit]);
        let said = said(&output);
        println!("{}", said.lines().last().unwrap_or_default());
        assert!(output.status.success(), "{said}");
        assert!(said.contains("Overall exposure level"), "{said}");
    }
}

/// Every value of a key in a unit.
fn values<'a>(unit: &'a str, key: &str) -> Vec<&'a str> {
    unit.lines()
        .filter_map(|line| line.strip_prefix(key)?.strip_prefix('='))
        .flat_map(str::split_whitespace)
        .collect()
}

/// What it comes to under systemd is tried by `make deb-test` and `make lab`.
#[test]
fn an_ordered_stop_is_not_undone() {
    let unit = |name: &str| fs::read_to_string(tree().join("systemd").join(name)).unwrap();
    let (the_box, failed, wanted) = (
        unit("huddled.service"),
        unit("huddled-failed.service"),
        unit("huddled-wanted.target"),
    );
    let target = "huddled-wanted.target";
    // The target comes with the box and goes with the order to stop it, and with nothing else.
    assert!(values(&the_box, "Wants").contains(&target));
    assert_eq!(values(&wanted, "PartOf"), ["huddled.service"]);
    assert!(values(&wanted, "BindsTo").is_empty());
    // Whatever starts the box again asks for it, and ends with it.
    assert_eq!(values(&failed, "OnFailure"), ["huddled.service"]);
    assert_eq!(
        values(&failed, "ExecCondition"),
        ["+systemctl", "--quiet", "is-active", target]
    );
    assert!(values(&failed, "After").contains(&target));
    assert_eq!(values(&failed, "StopPropagatedFrom"), [target]);
}

#[test]
fn every_unit_of_the_tree_is_looked_at_here_and_installed() {
    let installed = fs::read_to_string(tree().join("packaging/files.list")).unwrap();
    for entry in fs::read_dir(tree().join("systemd")).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        if [".service", ".target"]
            .iter()
            .any(|end| name.ends_with(end))
        {
            assert!(UNITS.contains(&name.as_str()), "{name}");
            assert!(installed.contains(&format!("systemd/{name} ")), "{name}");
        }
    }
}

/// What they come to under systemd is tried by `make deb-test`.
#[test]
fn box_and_hub_are_two_users_who_see_nothing_of_each_other() {
    let unit = |name: &str| fs::read_to_string(tree().join("systemd").join(name)).unwrap();
    for (name, user, hidden) in [
        ("huddled.service", "huddled", &["-/var/lib/huddled-hub"][..]),
        (
            "huddled-failed.service",
            "huddled",
            &["-/var/lib/huddled-hub"],
        ),
        (
            "huddled-hub.service",
            "huddled-hub",
            &["-/var/lib/huddled", "-/run/huddled"],
        ),
    ] {
        let unit = unit(name);
        assert_eq!(values(&unit, "User"), [user], "{name}");
        assert_eq!(values(&unit, "Group"), [user], "{name}");
        assert_eq!(values(&unit, "StateDirectory"), [user], "{name}");
        assert_eq!(values(&unit, "StateDirectoryMode"), ["0700"], "{name}");
        assert_eq!(values(&unit, "InaccessiblePaths"), hidden, "{name}");
        assert!(values(&unit, "SupplementaryGroups").is_empty(), "{name}");
    }
}

#[test]
fn the_services_run_their_own_program_and_nothing_else() {
    for name in UNITS.iter().filter(|name| name.ends_with(".service")) {
        let unit = fs::read_to_string(tree().join("systemd").join(name)).unwrap();
        assert_eq!(values(&unit, "NoExecPaths"), ["/"], "{name}");
        for path in values(&unit, "ExecPaths") {
            let path = path.trim_start_matches('-');
            let library = path.starts_with("/usr/lib") || path.starts_with("/lib");
            assert!(path == "/usr/bin/huddled" || library, "{name}: {path}");
            // Programs lie below these.
            assert!(path != "/usr/lib" && path != "/lib", "{name}: {path}");
        }
        for (key, value) in [
            ("PrivateMounts", "yes"),
            ("ProcSubset", "pid"),
            ("UMask", "0077"),
            ("MemoryDenyWriteExecute", "yes"),
        ] {
            assert_eq!(values(&unit, key), [value], "{name}: {key}");
        }
        // Another program is started with the manager's view of the files, or cannot be started.
        for key in ["ExecStart", "ExecStopPost", "ExecReload", "ExecCondition"] {
            if let Some(command) = values(&unit, key).first() {
                let own = command.trim_start_matches('-') == "/usr/bin/huddled";
                assert!(own || command.starts_with('+'), "{name}: {key}={command}");
            }
        }
    }
}

#[test]
fn the_check_of_exposure_can_fail() {
    let folder = Folder::new("exposed");
    let unit = folder.0.join("exposed.service");
    fs::write(&unit, "[Service]\nExecStart=/bin/true\n").unwrap();
    let arguments = ["security", "--offline=yes", "--no-pager", THRESHOLD];
    let output = systemd_analyze(&arguments, &[unit]);
    assert!(!output.status.success(), "{}", said(&output));
}

#[test]
fn the_user_has_the_groups_that_devices_are_given_to() {
    let folder = Folder::new("users");
    fs::create_dir_all(folder.0.join("etc")).unwrap();
    let output = Command::new("systemd-sysusers")
        .arg(format!("--root={}", folder.0.display()))
        .arg(tree().join("systemd/huddled.sysusers"))
        .output()
        .expect("systemd-sysusers can be started (`make setup` installs it)");
    assert!(output.status.success(), "{}", said(&output));
    let groups = fs::read_to_string(folder.0.join("etc/group")).unwrap();
    for group in ["audio", "video", "input", "gpio"] {
        let members = groups
            .lines()
            .find_map(|line| line.strip_prefix(&format!("{group}:")));
        assert!(
            members.is_some_and(|line| line.ends_with(":huddled")),
            "{group}: {groups}"
        );
    }
    let memberships = |user: &str| {
        let is_member = |line: &&str| {
            let members = line.rsplit(':').next().unwrap_or_default();
            members.split(',').any(|member| member == user)
        };
        groups.lines().filter(is_member).count()
    };
    assert_eq!((memberships("huddled"), memberships("huddled-hub")), (4, 0));
    // Who the udev rules give nodes to exists.
    let rules = fs::read_to_string(tree().join("systemd/huddled.udev")).unwrap();
    for name in rules.split("GROUP=\"").skip(1) {
        let name = name.split('"').next().unwrap();
        assert!(groups.contains(&format!("{name}:")), "{name}");
    }
}

#[test]
fn the_picture_of_the_lamps_shows_what_is_played() {
    let output = Command::new(tree().join("scripts/leds.py"))
        .output()
        .expect("python3 can be started (`make setup` installs it)");
    assert!(output.status.success(), "{}", said(&output));
    let picture = fs::read_to_string(tree().join("docs/images/leds.svg")).unwrap();
    assert!(
        String::from_utf8(output.stdout).unwrap() == picture,
        "docs/images/leds.svg is old: scripts/leds.py > docs/images/leds.svg"
    );
}
