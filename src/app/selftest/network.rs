//! The server, and the clock that its certificate and TURN passwords are judged by.

use std::time::Duration;

use anyhow::Result;
use serde_json::json;
use tokio::runtime::Runtime;

use super::{Check, Verdict};
use crate::clock::since_1970;
use crate::config::Settings;
use crate::socketio::{self, Answer};

use super::super::run::signaling_access;

/// A clock before this was never set: the year in which this was written began then.
const WRITTEN: Duration = Duration::from_secs(1_767_225_600);
/// A clock may differ from the server's by this much: half of what short-lived TURN passwords bear.
const TOLERANCE: Duration = Duration::from_secs(60);

pub(super) fn check(settings: &Settings, runtime: Result<Runtime>) -> Vec<Check> {
    if settings.signaling.is_none() {
        return vec![
            Check::new(
                "server",
                Verdict::Skipped,
                "no meeting is configured; set [signaling] url, meeting and user",
            ),
            clock(since_1970(), None),
        ];
    }
    let answer = runtime
        .map_err(|error| format!("{error:#}"))
        .and_then(|runtime| {
            let access = signaling_access(settings)?;
            runtime.block_on(socketio::probe(&access))
        });
    let now = since_1970();
    let server_time = answer.as_ref().ok().and_then(|answer| answer.date);
    vec![server(answer), clock(now, server_time)]
}

fn server(answer: Result<Answer, String>) -> Check {
    match answer {
        Ok(answer) => {
            let took = answer.took.as_millis() as u64;
            let login = match answer.logged_in {
                true => ", and takes the login",
                false => "",
            };
            Check::new(
                "server",
                Verdict::Pass,
                format!("{} answers within {took} ms{login}", answer.url),
            )
            .with(json!({ "status": answer.status, "took_ms": took }))
        }
        Err(problem) => Check::new(
            "server",
            Verdict::Fail,
            format!("{problem}; look at [signaling] url, the network and its name server"),
        ),
    }
}

fn clock(now: Duration, server: Option<Duration>) -> Check {
    let name = "clock";
    if now < WRITTEN {
        return Check::new(
            name,
            Verdict::Fail,
            "it stands before 2026, so certificates will be refused; set it (timedatectl set-ntp true)",
        );
    }
    let Some(server) = server else {
        return Check::new(
            name,
            Verdict::Skipped,
            "it is set; whether it is right could not be compared with the server's",
        );
    };
    let off = now.as_secs_f64() - server.as_secs_f64();
    let figures = json!({ "ahead_of_server_s": off.round() });
    let (verdict, text) = if off.abs() > TOLERANCE.as_secs_f64() {
        (
            Verdict::Fail,
            format!(
                "it is {off:.0} s ahead of the server's; set it (timedatectl set-ntp true), or the server's"
            ),
        )
    } else {
        (
            Verdict::Pass,
            format!("within {:.0} s of the server's", off.abs().ceil()),
        )
    };
    Check::new(name, verdict, text).with(figures)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_is_judged_by_the_server_and_never_passes_without_it() {
        let seconds = Duration::from_secs;
        let now = WRITTEN + seconds(1_000_000);
        for (now, server, verdict) in [
            (seconds(0), None, Verdict::Fail),
            (seconds(86_400), Some(now), Verdict::Fail),
            (now, None, Verdict::Skipped),
            (now, Some(now + seconds(59)), Verdict::Pass),
            (now, Some(now + seconds(61)), Verdict::Fail),
            (now + seconds(3600), Some(now), Verdict::Fail),
        ] {
            let check = clock(now, server);
            assert_eq!(check.verdict, verdict, "{}", check.text);
        }
    }

    #[test]
    fn a_server_that_is_not_there_is_a_failure_with_its_name() {
        let check = server(Err("http://nowhere.invalid: no such name".to_owned()));
        assert_eq!(check.verdict, Verdict::Fail);
        assert!(check.text.contains("nowhere.invalid"));
    }
}
