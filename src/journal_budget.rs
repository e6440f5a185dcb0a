//! FLOOR 0: budgets for journal lines that somebody else can cause: strangers, guests, members of the meeting.
//!
//! A flood of lines turns the journal over, hides other lines and wears out an SD card. Each kind of such a line is one
//! static [`LineBudget`] beside the code that writes it, so the number of kinds is fixed when the program is compiled:
//!
//! ```
//! use huddled::journal_budget::LineBudget;
//!
//! static REFUSED: LineBudget = LineBudget::new(module_path!(), log::Level::Warn, "refused connections");
//!
//! fn refuse(client: std::net::IpAddr) {
//!     if REFUSED.admits_address(client) {
//!         log::warn!("{client}: a connection was refused");
//!     }
//! }
//! ```
//! The first line of a kind is written. The others of that minute are counted, and one line tells how many there were
//! and who caused most of them. What decides is a value without a clock, so its tests run in virtual time.

use std::fmt::Write as _;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How long lines are counted before a summary tells of them.
const WINDOW: Duration = Duration::from_secs(60);
/// Sources remembered for each kind. When the table is full, the source with the fewest lines gives up its row.
const SOURCES: usize = 16;
/// Sources that a summary names.
const NAMED: usize = 3;
/// Longest name of a source, characters.
const NAME_CHARS: usize = 64;

/// How many lines of one kind are written.
#[derive(Clone, Copy, Debug)]
pub struct Allowance {
    /// Lines of all sources in a minute. A minute after one with omitted lines has one less, which is the summary.
    pub lines: u32,
    /// Lines of one source in a minute.
    pub per_source: u32,
}

/// The journal's budget for one kind of line.
#[derive(Debug)]
pub struct LineBudget {
    target: &'static str,
    level: log::Level,
    what: &'static str,
    allowance: Allowance,
    ledger: Mutex<Ledger>,
}

impl LineBudget {
    /// One line for the first of a kind, then one summary a minute. `target` is the caller's `module_path!()`, `level`
    /// that of the lines, `what` their plural noun for the summary.
    pub const fn new(target: &'static str, level: log::Level, what: &'static str) -> Self {
        let allowance = Allowance {
            lines: 1,
            per_source: 1,
        };
        Self::with(target, level, what, allowance)
    }

    /// Like [`LineBudget::new`] with more lines a minute, for lines that tell different facts.
    pub const fn with(
        target: &'static str,
        level: log::Level,
        what: &'static str,
        allowance: Allowance,
    ) -> Self {
        Self {
            target,
            level,
            what,
            allowance,
            ledger: Mutex::new(Ledger::new()),
        }
    }

    /// Whether the caller writes its line. `source` names who caused it: a user id, a device.
    pub fn admits(&'static self, source: &str) -> bool {
        let now = Instant::now();
        let noted = self.ledger().note(now, self.allowance, source);
        if let Some(summary) = noted.summary {
            self.write(&summary);
        }
        if let Some(end) = noted.first_omitted_until
            && let Ok(runtime) = tokio::runtime::Handle::try_current()
        {
            // Without a runtime the next line of this kind brings the summary along.
            runtime.spawn(async move {
                tokio::time::sleep_until(end.into()).await;
                self.tell(Instant::now());
            });
        }
        noted.admitted
    }

    /// Like [`LineBudget::admits`] for a client on the network; the neighbours of one [`network`] count as one source.
    pub fn admits_address(&'static self, client: IpAddr) -> bool {
        let network = network(client);
        if network.is_ipv6() {
            self.admits(&format!("{network}/64"))
        } else {
            self.admits(&network.to_string())
        }
    }

    /// Writes the summary of a minute that is over.
    fn tell(&self, now: Instant) {
        let summary = self.ledger().close(now, self.allowance);
        if let Some(summary) = summary {
            self.write(&summary);
        }
    }

    fn write(&self, summary: &Summary) {
        let text = summary.text(self.what);
        log::log!(target: self.target, self.level, "{text}");
    }

    fn ledger(&self) -> std::sync::MutexGuard<'_, Ledger> {
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What counts as one client: an IPv4 address, or a /64 of IPv6 (RFC 6177), written as its first address.
pub fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & (!0 << 64))),
        v4 @ IpAddr::V4(_) => v4,
    }
}

#[derive(Debug)]
struct Source {
    name: String,
    written: u32,
    omitted: u64,
}

/// The lines of one kind in the current minute; a value without a clock.
#[derive(Debug)]
struct Ledger {
    ends: Option<Instant>,
    written: u32,
    omitted: u64,
    sources: Vec<Source>,
    /// Whether a source gave up its row in this minute.
    overflown: bool,
}

struct Noted {
    admitted: bool,
    /// Of the minute before, if nobody has told of it yet.
    summary: Option<Summary>,
    /// The end of the minute, with its first omitted line.
    first_omitted_until: Option<Instant>,
}

struct Summary {
    omitted: u64,
    most: Vec<(String, u64)>,
    others: bool,
}

impl Ledger {
    const fn new() -> Self {
        Self {
            ends: None,
            written: 0,
            omitted: 0,
            sources: Vec::new(),
            overflown: false,
        }
    }

    fn note(&mut self, now: Instant, allowance: Allowance, source: &str) -> Noted {
        let summary = self.close(now, allowance);
        let ends = *self.ends.get_or_insert(now + WINDOW);
        let row = self.row(source);
        let admitted =
            self.written < allowance.lines && self.sources[row].written < allowance.per_source;
        let mut first_omitted_until = None;
        if admitted {
            self.written += 1;
            self.sources[row].written += 1;
        } else {
            self.omitted += 1;
            self.sources[row].omitted += 1;
            first_omitted_until = (self.omitted == 1).then_some(ends);
        }
        Noted {
            admitted,
            summary,
            first_omitted_until,
        }
    }

    /// Ends the minute if it is over; what its summary says.
    fn close(&mut self, now: Instant, allowance: Allowance) -> Option<Summary> {
        if self.ends.is_none_or(|ends| now < ends) {
            return None;
        }
        let ended = std::mem::replace(self, Self::new());
        if ended.omitted == 0 {
            return None;
        }
        // The summary is a line of the next minute.
        self.ends = Some(now + WINDOW);
        self.written = 1.min(allowance.lines);
        let mut sources = ended.sources;
        sources.sort_by_key(|source| std::cmp::Reverse(source.omitted));
        let busy = sources.iter().filter(|source| source.omitted > 0).count();
        Some(Summary {
            omitted: ended.omitted,
            others: ended.overflown || busy > NAMED,
            most: sources
                .into_iter()
                .take(NAMED.min(busy))
                .map(|source| (source.name, source.omitted))
                .collect(),
        })
    }

    /// The row of a source, which takes the place of the least busy one when the table is full.
    fn row(&mut self, name: &str) -> usize {
        let name: String = name
            .chars()
            .filter(|character| !character.is_control())
            .take(NAME_CHARS)
            .collect();
        if let Some(row) = self.sources.iter().position(|source| source.name == name) {
            return row;
        }
        let fresh = Source {
            name,
            written: 0,
            omitted: 0,
        };
        let least = (0..self.sources.len()).min_by_key(|&row| self.sources[row].omitted);
        match least.filter(|_| self.sources.len() >= SOURCES) {
            Some(row) => {
                self.overflown = true;
                self.sources[row] = fresh;
                row
            }
            None => {
                self.sources.push(fresh);
                self.sources.len() - 1
            }
        }
    }
}

impl Summary {
    fn text(&self, what: &str) -> String {
        let mut text = format!("{what}: {} more within a minute", self.omitted);
        for (number, (name, omitted)) in self.most.iter().enumerate() {
            let before = if number == 0 { ", most from " } else { ", " };
            // Writing into memory does not fail.
            let _ = write!(text, "{before}{name} ({omitted})");
        }
        if self.others {
            text.push_str(" and others");
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STRICT: Allowance = Allowance {
        lines: 1,
        per_source: 1,
    };

    fn seconds(number: u64) -> Duration {
        Duration::from_secs(number)
    }

    #[test]
    fn one_line_then_one_summary_a_minute() {
        let start = Instant::now();
        let mut ledger = Ledger::new();
        let mut lines = Vec::new();
        // Ten a second for three minutes, from two sources.
        for tenth in 0..1800 {
            let now = start + Duration::from_millis(tenth * 100);
            let source = if tenth % 5 == 0 { "b" } else { "a" };
            let noted = ledger.note(now, STRICT, source);
            lines.extend(noted.summary.map(|summary| summary.text("lines")));
            if noted.admitted {
                lines.push(format!("first at {tenth}"));
            }
        }
        assert_eq!(
            lines,
            [
                "first at 0",
                "lines: 599 more within a minute, most from a (480), b (119)",
                "lines: 600 more within a minute, most from a (480), b (120)",
            ]
        );
    }

    #[test]
    fn after_a_quiet_minute_the_first_line_is_written_again() {
        let start = Instant::now();
        let mut ledger = Ledger::new();
        assert!(ledger.note(start, STRICT, "a").admitted);
        assert!(!ledger.note(start + seconds(30), STRICT, "a").admitted);
        assert!(ledger.close(start + seconds(60), STRICT).is_some());
        // The summary stands for this minute.
        assert!(!ledger.note(start + seconds(61), STRICT, "a").admitted);
        assert!(ledger.close(start + seconds(121), STRICT).is_some());
        assert!(ledger.close(start + seconds(182), STRICT).is_none());
        assert!(ledger.note(start + seconds(183), STRICT, "a").admitted);
    }

    #[test]
    fn a_source_takes_its_own_share_only() {
        let start = Instant::now();
        let allowance = Allowance {
            lines: 10,
            per_source: 4,
        };
        let mut ledger = Ledger::new();
        let mut written = |source: &str| {
            (0..20)
                .filter(|_| ledger.note(start, allowance, source).admitted)
                .count()
        };
        assert_eq!([written("a"), written("b"), written("c")], [4, 4, 2]);
    }

    #[test]
    fn memory_is_bounded_and_the_busiest_source_is_named() {
        let start = Instant::now();
        let mut ledger = Ledger::new();
        for number in 0..10_000 {
            ledger.note(start, STRICT, &format!("{number}\n{}", "x".repeat(1000)));
            ledger.note(start, STRICT, "busy");
        }
        assert!(ledger.sources.len() <= SOURCES);
        assert!(
            ledger
                .sources
                .iter()
                .all(|source| source.name.chars().count() <= NAME_CHARS)
        );
        let text = ledger
            .close(start + WINDOW, STRICT)
            .map(|summary| summary.text("lines"))
            .expect("lines were left out");
        assert!(text.contains("most from busy (10000)"), "{text}");
        assert!(
            text.ends_with("and others") && !text.contains('\n'),
            "{text}"
        );
    }

    #[test]
    fn the_summary_needs_no_further_line() {
        static LINES: LineBudget = LineBudget::new("test", log::Level::Debug, "lines");
        assert!(LINES.admits("a"));
        assert!(!LINES.admits("a"));
        LINES.tell(Instant::now());
        assert_eq!(LINES.ledger().omitted, 1);
        LINES.tell(Instant::now() + WINDOW);
        assert_eq!(LINES.ledger().omitted, 0);
    }

    #[test]
    fn neighbours_in_one_network_are_one_source() {
        static LINES: LineBudget = LineBudget::new("test", log::Level::Debug, "lines");
        for client in [
            "2001:db8::1",
            "2001:db8::2",
            "192.0.2.1",
            "::ffff:192.0.2.1",
        ] {
            LINES.admits_address(client.parse().unwrap());
        }
        let names: Vec<_> = LINES
            .ledger()
            .sources
            .iter()
            .map(|source| source.name.clone())
            .collect();
        assert_eq!(names, ["2001:db8::/64", "192.0.2.1"]);
    }
}
