//! Errors of libraries in words.

use std::time::Duration;

use crate::room::one_line;

/// An error with its causes, in one line: what a library says of the outside world may hold anything.
pub(crate) fn describe(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let words = error.to_string();
        // Many errors repeat their cause already.
        if !text.contains(&words) {
            text.push_str(": ");
            text.push_str(&words);
        }
        cause = error.source();
    }
    one_line(&text)
}

/// What is wrong with the time of a certificate, in words that say what to do; `None` if the error is about something
/// else. A box without a battery for its clock starts in another year until the network has told it the time. `now` is
/// what its clock says, as time since 1970.
pub(crate) fn about_time(error: &str, now: Duration) -> Option<String> {
    let now = date(now);
    if error.contains("not yet valid") {
        return Some(format!(
            "the server's certificate is not yet valid, so the clock of this box is most likely wrong: it says {now}; \
             this is tried again, and is over once the clock is set"
        ));
    }
    error.contains("has expired").then(|| {
        format!(
            "the server's certificate has expired; renew it, or set the clock of this box, which says {now}"
        )
    })
}

/// The day of a time since 1970, as ISO 8601 has it (Howard Hinnant's civil_from_days).
fn date(since_1970: Duration) -> String {
    let days = since_1970.as_secs() / 86_400 + 719_468;
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 {
        shifted + 3
    } else {
        shifted - 9
    };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrong_clock_is_called_one() {
        let say = |error: &str| about_time(error, Duration::from_secs(86_400)).unwrap_or_default();
        let early = say(
            "error trying to connect: certificate verify failed (certificate is not yet valid)",
        );
        assert!(
            early.contains("the clock of this box is most likely wrong: it says 1970-01-02"),
            "{early}"
        );
        let late = say("certificate verify failed (certificate has expired)");
        assert!(late.contains("renew it, or set the clock"), "{late}");
        assert_eq!(about_time("connection refused", Duration::ZERO), None);
    }

    #[test]
    fn days_are_counted_as_the_calendar_has_them() {
        for (seconds, day) in [
            (0, "1970-01-01"),
            (951_782_400, "2000-02-29"),
            (951_868_800, "2000-03-01"),
            (1_735_689_599, "2024-12-31"),
            (4_107_542_400, "2100-03-01"),
        ] {
            assert_eq!(date(Duration::from_secs(seconds)), day);
        }
    }
}
