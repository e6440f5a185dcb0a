//! What the box remembers of remote files, and whether one that is offered is to be tried.

use std::fmt::Write as _;

use ring::digest::{SHA256, digest};
use serde::{Deserialize, Serialize};

/// Failed files that are remembered; the oldest is forgotten first.
const FAILED: usize = 16;
/// Starts of the program in which a file on trial may fail to reach its server.
const MOST_STARTS: u32 = 5;

/// SHA-256 of a file's bytes, in hexadecimal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Digest(String);

impl Digest {
    /// Of these bytes.
    pub fn of(bytes: &[u8]) -> Self {
        let mut text = String::new();
        for byte in digest(&SHA256, bytes).as_ref() {
            // Writing to a String cannot fail.
            let _ = write!(text, "{byte:02x}");
        }
        Self(text)
    }

    /// As it is written. One that was read from a file may be anything.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A signed file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Version {
    /// What its signature says.
    pub number: u64,
    /// Of its bytes.
    pub digest: Digest,
}

/// A file that is in use and may yet have to go.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OnTrial {
    /// The file.
    pub version: Version,
    /// Starts of the program with it.
    pub starts: u32,
}

/// A file that had to go.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Failed {
    /// The file.
    pub version: Version,
    /// Why, in a sentence.
    pub reason: String,
}

/// Everything that is remembered; written as one file, so that its parts always fit each other.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Record {
    /// What is complained of: the newest file was refused, or had to go.
    pub complaint: Option<String>,
    /// The last file under which the box was in its meeting.
    pub good: Option<Version>,
    /// The file on trial.
    pub trial: Option<OnTrial>,
    /// Files that are not tried again; the newest last.
    #[serde(default)]
    pub failed: Vec<Failed>,
}

/// What to do with an offered file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing: it is in use.
    Same,
    /// The last good file under a higher number (or signed anew): it stays, or comes back, without a trial.
    Renew,
    /// Put it on trial.
    Try,
    /// Leave it: why, in a sentence.
    Refuse(String),
    /// Leave it: it had to go before, for this reason.
    Failed(String),
}

impl Record {
    /// The file in use.
    pub fn current(&self) -> Option<&Version> {
        let trial = self.trial.as_ref().map(|trial| &trial.version);
        trial.or(self.good.as_ref())
    }

    /// What to do with this file.
    pub fn judge(&self, offered: &Version) -> Verdict {
        if self.current() == Some(offered) {
            return Verdict::Same;
        }
        if let Some(current) = self.current() {
            let number = offered.number;
            if number < current.number {
                return Verdict::Refuse(format!(
                    "version {number} is older than version {}, which is in use; to go back, sign the old file as a \
                     new version",
                    current.number
                ));
            }
            if number == current.number && offered.digest != current.digest {
                return Verdict::Refuse(format!(
                    "version {number} is in use with other bytes; give the changed file a higher version"
                ));
            }
        }
        if let Some(failed) = self
            .failed
            .iter()
            .rfind(|failed| failed.version.digest == offered.digest)
        {
            return Verdict::Failed(failed.reason.clone());
        }
        match &self.good {
            Some(good) if good.digest == offered.digest => Verdict::Renew,
            _ => Verdict::Try,
        }
    }

    /// Puts a file on trial.
    pub fn begin(&mut self, version: Version) {
        self.complaint = None;
        self.trial = Some(OnTrial { version, starts: 0 });
    }

    /// The last good file has a new number.
    pub fn renew(&mut self, version: Version) {
        *self = Self {
            complaint: None,
            good: Some(version),
            trial: None,
            failed: std::mem::take(&mut self.failed),
        };
    }

    /// The program has stayed up with the file on trial. Whether that is news.
    pub fn stayed_up(&mut self) -> bool {
        let trial = self.trial.as_mut();
        trial.is_some_and(|trial| std::mem::take(&mut trial.starts) > 0)
    }

    /// The trial is passed.
    pub fn confirm(&mut self) {
        if let Some(trial) = self.trial.take() {
            self.good = Some(trial.version);
        }
    }

    /// The file on trial has to go. `reason` is a sentence.
    pub fn go_back(&mut self, reason: &str) {
        let Some(OnTrial { version, .. }) = self.trial.take() else {
            return;
        };
        let instead = match &self.good {
            Some(good) => format!("version {} is used again", good.number),
            None => "none is used".to_owned(),
        };
        let reason = format!(
            "the remote configuration's version {} was taken back: {reason}; {instead}",
            version.number
        );
        self.complaint = Some(reason.clone());
        self.failed.push(Failed { version, reason });
        let surplus = self.failed.len().saturating_sub(FAILED);
        self.failed.drain(..surplus);
    }

    /// The file on trial cannot be used, through no fault of its settings: it may be tried again. `complaint` is a
    /// sentence.
    pub fn give_up(&mut self, complaint: String) {
        self.trial = None;
        self.complaint = Some(complaint);
    }

    /// The program starts, with the file on trial if there is one. Whether that file has to go for starting too often.
    pub fn count_start(&mut self) -> bool {
        let Some(trial) = &mut self.trial else {
            return false;
        };
        trial.starts += 1;
        if trial.starts <= MOST_STARTS {
            return false;
        }
        self.go_back(&format!(
            "huddled started {MOST_STARTS} times with it without reaching its signaling server"
        ));
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn version(number: u64, text: &str) -> Version {
        Version {
            number,
            digest: Digest::of(text.as_bytes()),
        }
    }

    fn with_good(number: u64, text: &str) -> Record {
        let mut record = Record::default();
        record.begin(version(number, text));
        record.confirm();
        record
    }

    #[test]
    fn only_what_is_newer_is_tried() {
        assert_eq!(Record::default().judge(&version(0, "a")), Verdict::Try);
        let record = with_good(7, "a");
        assert_eq!(record.judge(&version(7, "a")), Verdict::Same);
        assert_eq!(record.judge(&version(8, "b")), Verdict::Try);
        assert_eq!(record.judge(&version(8, "a")), Verdict::Renew);
        for old in [version(6, "b"), version(6, "a"), version(7, "b")] {
            assert!(matches!(record.judge(&old), Verdict::Refuse(_)), "{old:?}");
        }
    }

    #[test]
    fn what_failed_is_tried_again_only_with_other_bytes() {
        let mut record = with_good(7, "a");
        record.begin(version(8, "b"));
        assert_eq!(record.current(), Some(&version(8, "b")));
        assert_eq!(record.judge(&version(8, "b")), Verdict::Same);
        // Meanwhile an older one is a roll-back, a newer one takes over, and the good one comes back under a new number.
        assert!(matches!(record.judge(&version(7, "a")), Verdict::Refuse(_)));
        assert_eq!(record.judge(&version(9, "c")), Verdict::Try);
        assert_eq!(record.judge(&version(9, "a")), Verdict::Renew);
        record.go_back("the server did not answer");
        assert_eq!(record.current(), Some(&version(7, "a")));
        let complaint = record.complaint.clone().unwrap();
        assert_eq!(
            complaint,
            "the remote configuration's version 8 was taken back: the server did not answer; version 7 is used again"
        );
        for number in [8, 9] {
            assert_eq!(
                record.judge(&version(number, "b")),
                Verdict::Failed(complaint.clone())
            );
        }
        assert_eq!(record.judge(&version(8, "c")), Verdict::Try);
        record.begin(version(8, "c"));
        record.confirm();
        assert_eq!(
            (record.complaint, record.good),
            (None, Some(version(8, "c")))
        );
    }

    #[test]
    fn a_file_that_keeps_the_program_from_staying_up_goes() {
        let mut record = with_good(1, "a");
        assert!(!record.count_start());
        record.begin(version(2, "b"));
        for _ in 0..MOST_STARTS {
            assert!(!record.count_start());
        }
        let mut other = record.clone();
        assert!(other.stayed_up());
        assert!(!other.stayed_up());
        assert!(!other.count_start());
        assert!(record.count_start());
        assert_eq!(record.current(), Some(&version(1, "a")));
        assert!(!record.count_start());
    }

    #[test]
    fn a_file_that_was_given_up_is_tried_again() {
        let mut record = with_good(7, "a");
        record.begin(version(8, "b"));
        record.give_up("the file was changed".to_owned());
        assert_eq!(record.current(), Some(&version(7, "a")));
        assert_eq!(record.judge(&version(8, "b")), Verdict::Try);
        assert_eq!(record.complaint.as_deref(), Some("the file was changed"));
    }

    #[test]
    fn the_memory_is_bounded() {
        let mut record = Record::default();
        for number in 0..100 {
            record.begin(version(number, &number.to_string()));
            record.go_back("x");
        }
        assert_eq!(record.failed.len(), FAILED);
        assert!(matches!(
            record.judge(&version(200, "99")),
            Verdict::Failed(_)
        ));
        assert_eq!(record.judge(&version(200, "1")), Verdict::Try);
    }
}
