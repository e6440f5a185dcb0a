//! Dates as the application writes them.

use std::time::SystemTime;

/// Now, in ISO 8601 as `Date.prototype.toISOString` writes it.
pub(super) fn stamp() -> String {
    let since_epoch = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    text(since_epoch.as_millis() as u64)
}

/// The civil date of the proleptic Gregorian calendar, counted in years that begin in March, in which the leap day is
/// the last.
fn text(millis: u64) -> String {
    const DAY: u64 = 86_400_000;
    // Days of 400, 100 and 4 years.
    const ERA: u64 = 146_097;
    const CENTURY: u64 = 36_524;
    const OLYMPIAD: u64 = 1_461;
    let days = millis / DAY + 719_468;
    let (era, day) = (days / ERA, days % ERA);
    let year = (day - day / (OLYMPIAD - 1) + day / CENTURY - day / (ERA - 1)) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let date = day - (153 * month + 2) / 5 + 1;
    let (year, month) = match month {
        0..=9 => (era * 400 + year, month + 3),
        _ => (era * 400 + year + 1, month - 9),
    };
    let rest = millis % DAY;
    format!(
        "{year:04}-{month:02}-{date:02}T{:02}:{:02}:{:02}.{:03}Z",
        rest / 3_600_000,
        rest / 60_000 % 60,
        rest / 1000 % 60,
        rest % 1000
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_those_of_the_calendar() {
        for (millis, date) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (951_782_399_999, "2000-02-28T23:59:59.999Z"),
            (951_782_400_000, "2000-02-29T00:00:00.000Z"),
            (1_709_164_800_123, "2024-02-29T00:00:00.123Z"),
            (4_107_542_400_000, "2100-03-01T00:00:00.000Z"),
        ] {
            assert_eq!(text(millis), date);
        }
    }
}
