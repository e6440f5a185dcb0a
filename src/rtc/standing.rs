//! What is known of one server: told once when it changes, not at every attempt.

use std::sync::{Mutex, PoisonError};

use log::Level;

/// What is wrong with a server, as the end of a sentence that begins with its URL, and what to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Problem {
    level: Level,
    /// The words; never a secret.
    pub(super) text: String,
}

impl Problem {
    /// The operator must act.
    pub(super) fn error(text: String) -> Self {
        Self {
            level: Level::Error,
            text,
        }
    }

    /// It may pass by itself.
    pub(super) fn warning(text: String) -> Self {
        Self {
            level: Level::Warn,
            text,
        }
    }
}

/// One server's standing. Shared by everything that deals with the server.
#[derive(Debug)]
pub(super) struct Standing {
    url: String,
    told: Mutex<Option<Result<(), Problem>>>,
}

impl Standing {
    /// Nothing is known yet of the server with this URL.
    pub(super) fn new(url: &str) -> Self {
        Self {
            url: url.to_owned(),
            told: Mutex::new(None),
        }
    }

    /// It does what it should.
    pub(super) fn works(&self) {
        if self.is_news(Ok(())) {
            log::info!("{}: the relay works", self.url);
        }
    }

    /// It does not.
    pub(super) fn fails(&self, problem: Problem) {
        if self.is_news(Err(problem.clone())) {
            log::log!(problem.level, "{}: {}", self.url, problem.text);
        }
    }

    /// What it is called in the settings.
    pub(super) fn url(&self) -> &str {
        &self.url
    }

    /// What was wrong with it when it was last heard of; never a secret.
    pub(super) fn problem(&self) -> Option<String> {
        let told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        let problem = told.as_ref()?.as_ref().err()?;
        Some(problem.text.clone())
    }

    /// It did what it should when it was last heard of.
    pub(super) fn is_well(&self) -> bool {
        let told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        matches!(*told, Some(Ok(())))
    }

    /// What was wrong is so no more; nothing else is known.
    pub(super) fn forget(&self) {
        *self.told.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    fn is_news(&self, now: Result<(), Problem>) -> bool {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        let news = told.as_ref() != Some(&now);
        *told = Some(now);
        news
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_is_told_once_and_again_after_a_change() {
        let standing = Standing::new("turn:a");
        let refused = || Err(Problem::error("no".to_owned()));
        assert!(standing.is_news(refused()));
        assert!(!standing.is_news(refused()));
        assert!(standing.is_news(Err(Problem::warning("no".to_owned()))));
        assert!(standing.is_news(Ok(())));
        assert!(!standing.is_news(Ok(())));
        assert!(standing.is_news(refused()));
    }
}
