//! `huddled selftest`: tries every configured device, the server and the clock, and says of each: pass, or what to do.
//!
//! It opens the devices itself, so no daemon may run meanwhile. What only a person can judge (a light) is shown and called
//! `look`; what cannot be tried is called `skipped` with the reason. Nothing is called `pass` that was not measured.

mod network;
mod panel;
mod picture;
mod sound;

use std::os::unix::net::UnixStream;

use serde_json::{Value, json};

use crate::config::Settings;
use crate::control;
use crate::room::one_line;

use super::run::runtime;

/// How a check ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Measured, and as it must be.
    Pass,
    /// Not as it must be; the text says what to do.
    Fail,
    /// Done without an error; whether it is right is for a person to see.
    Look,
    /// Not tried.
    Skipped,
}

impl Verdict {
    fn as_str(self) -> &'static str {
        match self {
            Self::Pass => "pass",
            Self::Fail => "FAIL",
            Self::Look => "look",
            Self::Skipped => "skipped",
        }
    }
}

/// What was found out about one thing.
#[derive(Clone, Debug, PartialEq)]
pub struct Check {
    /// `camera`, `microphone`, `light mic` and so on.
    pub name: String,
    /// How it ended.
    pub verdict: Verdict,
    /// What was seen and what to do, in a sentence.
    pub text: String,
    /// What was measured; `null` for nothing.
    pub figures: Value,
}

impl Check {
    fn new(name: impl Into<String>, verdict: Verdict, text: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            verdict,
            text: text.into(),
            figures: Value::Null,
        }
    }

    fn with(self, figures: Value) -> Self {
        Self { figures, ..self }
    }

    /// One line for a person.
    pub fn line(&self) -> String {
        let line = format!("{:8} {:14} {}", self.verdict.as_str(), self.name, self.text);
        // Servers and drivers have a say in the text.
        one_line(&line)
    }
}

/// What to try.
pub struct SelfTest {
    /// The accepted configuration.
    pub settings: Settings,
    /// Each button is asked for, and waited for.
    pub buttons: bool,
}

impl SelfTest {
    /// Tries everything, one after the other. `ask` is told what a person should do or look at now, `tell` each outcome.
    pub fn run(&self, ask: &dyn Fn(&str), tell: &dyn Fn(&Check)) -> Vec<Check> {
        let mut checks = Vec::new();
        let mut add = |more: Vec<Check>| {
            more.iter().for_each(tell);
            checks.extend(more);
        };
        let settings = &self.settings;
        if let Some(running) = running(settings) {
            add(vec![running]);
            return checks;
        }
        add(vec![picture::camera(settings), picture::screen(settings)]);
        add(sound::check(settings));
        add(panel::lights(settings, ask));
        add(panel::buttons(settings, self.buttons, ask));
        add(network::check(settings, runtime()));
        checks
    }
}

/// A daemon holds every device, and all would seem to be broken.
fn running(settings: &Settings) -> Option<Check> {
    let socket = settings.control.socket.clone().unwrap_or_else(|| {
        control::default_socket(std::env::var_os("RUNTIME_DIRECTORY").as_deref())
    });
    UnixStream::connect(&socket).ok()?;
    let text = format!(
        "the daemon runs ({}) and holds the devices; stop it (systemctl stop huddled), test, and start it again",
        socket.display()
    );
    Some(Check::new("devices", Verdict::Fail, text))
}

/// Nothing failed.
pub fn passed(checks: &[Check]) -> bool {
    checks.iter().all(|check| check.verdict != Verdict::Fail)
}

/// All checks as one JSON document.
pub fn document(checks: &[Check]) -> Value {
    let list: Vec<Value> = checks
        .iter()
        .map(|check| {
            json!({
                "check": check.name,
                "verdict": check.verdict.as_str().to_lowercase(),
                "text": check.text,
                "figures": check.figures,
            })
        })
        .collect();
    json!({ "passed": passed(checks), "checks": list })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_failure_fails_and_json_says_the_same_as_the_text() {
        let check = |verdict| Check::new("light mic", verdict, "shown").with(json!({"n": 1}));
        let fine = [
            check(Verdict::Pass),
            check(Verdict::Look),
            check(Verdict::Skipped),
        ];
        assert!(passed(&fine));
        let failed = [check(Verdict::Pass), check(Verdict::Fail)];
        assert!(!passed(&failed));
        let document = document(&failed);
        assert_eq!(document["passed"], false);
        assert_eq!(document["checks"][1]["verdict"], "fail");
        assert_eq!(document["checks"][1]["figures"]["n"], 1);
        assert_eq!(failed[1].line(), "FAIL     light mic      shown");
    }
}
