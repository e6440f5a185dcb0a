//! Lights that the kernel drives itself, as files of the LED class (Documentation/leds/leds-class.rst of the kernel).
//!
//! Such a light keeps what it was told last when the program is gone; `make_safe` is for then.

use std::fs;
use std::io::ErrorKind;
use std::path::{Component, Path, PathBuf};

use super::{LightBoard, Output};
use crate::config::PanelLine;

/// Where the kernel lists them, below the root folder.
const FOLDER: &str = "sys/class/leds";
/// Names that an error lists at most.
const LISTED: usize = 12;
/// What a part of a light with several colours is driven to; brightness scales it (leds-class-multicolor.rst).
const FULL: u32 = 255;

/// See the module.
#[derive(Debug)]
pub(super) struct LedClass {
    folder: PathBuf,
}

impl LedClass {
    /// `root`: the folder that `/sys` is looked for in.
    pub(super) fn below(root: &Path) -> Self {
        Self {
            folder: root.join(FOLDER),
        }
    }

    fn find(&self, line: &PanelLine) -> Result<Light, String> {
        let name = &line.line;
        // A name from a file becomes part of a path.
        let mut parts = Path::new(name).components();
        let single = matches!(parts.next(), Some(Component::Normal(_))) && parts.next().is_none();
        let folder = self.folder.join(name);
        if !single || !folder.join("brightness").exists() {
            return Err(format!(
                "no light is called {name} in {}; there is {}",
                self.folder.display(),
                self.listed()
            ));
        }
        let brightest = read(&folder.join("max_brightness"))?;
        let brightest = brightest.trim().parse().map_err(|_| {
            format!("light {name}: its max_brightness is no number; use another light")
        })?;
        Ok(Light {
            folder,
            brightest,
            active_low: line.active_low,
        })
    }

    /// The names of the lights there are.
    fn names(&self) -> Vec<String> {
        let mut names: Vec<String> = fs::read_dir(&self.folder)
            .map(|entries| {
                let names = entries.flatten().map(|entry| entry.file_name());
                names.map(|name| name.to_string_lossy().into()).collect()
            })
            .unwrap_or_default();
        names.sort();
        names
    }

    fn listed(&self) -> String {
        let mut names = self.names();
        if names.is_empty() {
            return "none at all".to_owned();
        }
        let more = if names.len() > LISTED { ", ..." } else { "" };
        names.truncate(LISTED);
        format!("{}{more}", names.join(", "))
    }
}

impl LightBoard for LedClass {
    fn output(&self, line: &PanelLine, lit: bool) -> Result<Box<dyn Output>, String> {
        let mut light = self.find(line)?;
        light.take()?;
        light.set(lit)?;
        Ok(Box::new(light))
    }

    fn make_safe(&self, line: &PanelLine, lit: bool) -> Result<&'static str, String> {
        self.output(line, lit)?;
        Ok(if lit { "lit" } else { "dark" })
    }
}

/// One folder of the class.
#[derive(Debug)]
struct Light {
    folder: PathBuf,
    brightest: u32,
    active_low: bool,
}

impl Light {
    /// Ends what the kernel plays on it, and makes one with several colours red, the colour of closed and failed.
    fn take(&self) -> Result<(), String> {
        let trigger = self.folder.join("trigger");
        // The chosen one of the list stands in brackets. A light without triggers has no such file.
        let playing = fs::read_to_string(&trigger).is_ok_and(|list| !list.contains("[none]"));
        if playing {
            write(&trigger, "none")?;
        }
        if let Ok(colours) = fs::read_to_string(self.folder.join("multi_index")) {
            let colours: Vec<&str> = colours.split_whitespace().collect();
            if colours.contains(&"red") {
                let parts: Vec<String> = colours
                    .iter()
                    .map(|colour| if *colour == "red" { FULL } else { 0 }.to_string())
                    .collect();
                write(&self.folder.join("multi_intensity"), &parts.join(" "))?;
            }
        }
        Ok(())
    }
}

impl Output for Light {
    fn set(&mut self, lit: bool) -> Result<(), String> {
        let value = if lit != self.active_low {
            self.brightest
        } else {
            0
        };
        write(&self.folder.join("brightness"), &value.to_string())
    }

    fn rest(&mut self, lit: bool) -> Result<(), String> {
        self.set(lit)
    }
}

fn read(file: &Path) -> Result<String, String> {
    fs::read_to_string(file).map_err(|error| format!("{}: {error}", file.display()))
}

fn write(file: &Path, text: &str) -> Result<(), String> {
    fs::write(file, text).map_err(|error| match error.kind() {
        ErrorKind::PermissionDenied => format!(
            "{}: {error}; the user of huddled must be allowed to write it, which the udev rules of huddled see to for lights called huddled:*",
            file.display()
        ),
        _ => format!("{}: {error}", file.display()),
    })
}

/// The lights of this machine, for `huddled devices`.
pub(in crate::devices) fn list() -> Vec<String> {
    LedClass::below(Path::new("/")).names()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{PanelBackend, PanelSettings};
    use crate::devices::{open_lights, set_lights_safe};
    use crate::room::{Color, Led, Pattern, Shape};
    use std::time::{Duration, Instant};

    /// A tree that stands for `/sys`, with lights that are on, blink or are dark.
    struct Tree(PathBuf);

    impl Tree {
        fn new(name: &str) -> Self {
            let id = std::process::id();
            let root = std::env::temp_dir().join(format!("huddled-leds-{name}-{id}"));
            fs::create_dir_all(root.join(FOLDER)).unwrap();
            Self(root)
        }

        fn add(&self, name: &str, files: &[(&str, &str)]) {
            let folder = self.0.join(FOLDER).join(name);
            fs::create_dir(&folder).unwrap();
            for (file, text) in files {
                fs::write(folder.join(file), text).unwrap();
            }
        }

        fn read(&self, name: &str, file: &str) -> String {
            fs::read_to_string(self.0.join(FOLDER).join(name).join(file)).unwrap()
        }
    }

    impl Drop for Tree {
        fn drop(&mut self) {
            // Only tidiness.
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    fn settings(names: [&str; 3]) -> PanelSettings {
        PanelSettings {
            backend: PanelBackend::Kernel,
            buttons: [None, None, None],
            leds: names.map(|name| {
                Some(PanelLine {
                    chip: None,
                    line: name.to_owned(),
                    active_low: false,
                    bias: None,
                })
            }),
        }
    }

    #[test]
    fn closed_is_lit_whatever_the_lights_showed() {
        let tree = Tree::new("safe");
        tree.add(
            "huddled:red:micmute",
            &[("brightness", "0"), ("max_brightness", "1\n")],
        );
        tree.add(
            "huddled:rgb:camera",
            &[
                ("brightness", "255"),
                ("max_brightness", "255\n"),
                ("multi_index", "green blue red\n"),
                ("multi_intensity", "255 0 0\n"),
                ("trigger", "none [timer] heartbeat\n"),
            ],
        );
        tree.add(
            "huddled:white:status",
            &[
                ("brightness", "40"),
                ("max_brightness", "40\n"),
                ("trigger", "[none] timer\n"),
            ],
        );
        let names = [
            "huddled:red:micmute",
            "huddled:rgb:camera",
            "huddled:white:status",
        ];
        let told = set_lights_safe(&settings(names), &tree.0);
        assert_eq!(
            told.iter().filter(|told| told.is_ok()).count(),
            3,
            "{told:?}"
        );
        assert_eq!(tree.read(names[0], "brightness"), "1");
        assert_eq!(tree.read(names[1], "brightness"), "255");
        assert_eq!(tree.read(names[1], "multi_intensity"), "0 0 255");
        assert_eq!(tree.read(names[1], "trigger"), "none");
        assert_eq!(tree.read(names[2], "brightness"), "0");
        // Nothing was played there: the list is as it was.
        assert_eq!(tree.read(names[2], "trigger"), "[none] timer\n");
    }

    #[test]
    fn one_that_is_not_there_is_named_and_costs_the_others_nothing() {
        let tree = Tree::new("missing");
        tree.add("mic", &[("brightness", "0"), ("max_brightness", "7")]);
        fs::write(tree.0.join("brightness"), "outside").unwrap();
        let told = set_lights_safe(&settings(["mic", "camera", "../../.."]), &tree.0);
        assert!(told[0].is_ok());
        assert_eq!(tree.read("mic", "brightness"), "7");
        let complaint = told[1].clone().unwrap_err();
        assert!(
            complaint.contains("no light is called camera"),
            "{complaint}"
        );
        assert!(complaint.ends_with("there is mic"), "{complaint}");
        assert!(told[2].is_err());
        let outside = fs::read_to_string(tree.0.join("brightness")).unwrap();
        assert_eq!(outside, "outside");
    }

    #[test]
    fn a_failed_box_blinks_on_lights_of_the_kernel() {
        let tree = Tree::new("blink");
        tree.add("status", &[("brightness", "0"), ("max_brightness", "9")]);
        let mut settings = settings(["", "", "status"]);
        settings.leds[0] = None;
        settings.leds[1] = None;
        let mut panel = open_lights(&settings, &tree.0).unwrap();
        panel.set_led(Led::Status, Pattern::new(Color::Red, Shape::DoubleBlink));
        let deadline = Instant::now() + Duration::from_secs(20);
        for wanted in ["9", "0", "9", "0", "9"] {
            while tree.read("status", "brightness") != wanted {
                assert!(Instant::now() < deadline, "never {wanted}");
                std::thread::yield_now();
            }
        }
    }
}
