//! A TOML document that knows which keys may stand where, and on which line each one stands.

use std::ops::{Range, RangeInclusive};
use std::path::Path;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::ConfigError;

/// Where a document came from, to say so in errors.
#[derive(Clone, Copy)]
pub(super) struct Origin<'a> {
    pub(super) file: &'a Path,
    pub(super) text: &'a str,
}

impl Origin<'_> {
    /// `span` is a range of bytes of the text.
    pub(super) fn error(
        self,
        span: Option<Range<usize>>,
        key: String,
        problem: impl Into<String>,
    ) -> ConfigError {
        let line = span.map(|span| {
            let before = self.text.as_bytes().iter().take(span.start);
            before.filter(|byte| **byte == b'\n').count() + 1
        });
        ConfigError {
            file: self.file.to_owned(),
            line,
            key,
            problem: problem.into(),
        }
    }
}

/// One table of the document, which may be absent: then every key of it is.
pub(super) struct Section<'a> {
    origin: Origin<'a>,
    /// Dotted; empty for the document itself.
    path: String,
    table: Option<&'a DeTable<'a>>,
    /// Of the key that names the table.
    span: Option<Range<usize>>,
    known: &'static [&'static str],
}

impl<'a> Section<'a> {
    /// The document itself.
    pub(super) fn root(
        origin: Origin<'a>,
        table: &'a DeTable<'a>,
        known: &'static [&'static str],
    ) -> Result<Self, ConfigError> {
        Self::open(origin, String::new(), Some(table), None, known)
    }

    fn open(
        origin: Origin<'a>,
        path: String,
        table: Option<&'a DeTable<'a>>,
        span: Option<Range<usize>>,
        known: &'static [&'static str],
    ) -> Result<Self, ConfigError> {
        let section = Self {
            origin,
            path,
            table,
            span,
            known,
        };
        let unknown = table
            .into_iter()
            .flatten()
            .map(|(key, _)| key)
            .filter(|key| !known.contains(&key.get_ref().as_ref()))
            .min_by_key(|key| key.span().start);
        match unknown {
            None => Ok(section),
            Some(key) => Err(origin.error(
                Some(key.span()),
                section.dotted(&printable(key.get_ref())),
                match nearest(key.get_ref(), known) {
                    Some(near) => format!("unknown key; did you mean \"{near}\"?"),
                    None => format!("unknown key; known here: {}", known.join(", ")),
                },
            )),
        }
    }

    fn dotted(&self, key: &str) -> String {
        match self.path.as_str() {
            "" => key.to_owned(),
            path => format!("{path}.{key}"),
        }
    }

    fn find(&self, key: &'static str) -> Option<(Range<usize>, &'a DeValue<'a>)> {
        debug_assert!(self.known.contains(&key), "{} is not listed", key);
        let (name, value) = self
            .table?
            .iter()
            .find(|(name, _)| name.get_ref().as_ref() == key)?;
        Some((name.span(), value.get_ref()))
    }

    /// An error about a key of this table, at its line, else at the line of the table's header.
    pub(super) fn error(&self, key: &'static str, problem: impl Into<String>) -> ConfigError {
        let span = self.find(key).map(|(span, _)| span);
        self.origin.error(
            span.or_else(|| self.span.clone()),
            self.dotted(key),
            problem,
        )
    }

    fn wrong_type(&self, key: &'static str, wanted: &str, value: &DeValue<'_>) -> ConfigError {
        self.error(key, format!("must be {wanted}, not {}", kind(value)))
    }

    pub(super) fn section(
        &self,
        key: &'static str,
        known: &'static [&'static str],
    ) -> Result<Section<'a>, ConfigError> {
        let (span, table) = match self.find(key) {
            None => (None, None),
            Some((span, DeValue::Table(table))) => (Some(span), Some(table)),
            Some((_, value)) => return Err(self.wrong_type(key, "a table", value)),
        };
        Self::open(self.origin, self.dotted(key), table, span, known)
    }

    /// An array of tables.
    pub(super) fn sections(
        &self,
        key: &'static str,
        known: &'static [&'static str],
    ) -> Result<Vec<Section<'a>>, ConfigError> {
        let items = match self.find(key) {
            None => return Ok(Vec::new()),
            Some((_, DeValue::Array(items))) => items,
            Some((_, value)) => {
                return Err(self.wrong_type(key, &format!("a list: write [[{key}]]"), value));
            }
        };
        let each = items.iter().enumerate();
        each.map(|(index, item)| match item.get_ref() {
            DeValue::Table(table) => Self::open(
                self.origin,
                format!("{}[{index}]", self.dotted(key)),
                Some(table),
                Some(item.span()),
                known,
            ),
            other => Err(self.wrong_type(key, "a list of tables", other)),
        })
        .collect()
    }

    /// The value of a text; `read` validates it and says what is wrong with it and what to do.
    pub(super) fn text<T>(
        &self,
        key: &'static str,
        read: impl FnOnce(&str) -> Result<T, String>,
    ) -> Result<Option<T>, ConfigError> {
        match self.find(key) {
            None => Ok(None),
            Some((_, DeValue::String(text))) => read(text)
                .map(Some)
                .map_err(|problem| self.error(key, problem)),
            Some((_, value)) => Err(self.wrong_type(key, "a text in quotes", value)),
        }
    }

    /// A list of texts; a single one counts as a list of one.
    pub(super) fn texts<T>(
        &self,
        key: &'static str,
        read: impl Fn(&str) -> Result<T, String>,
    ) -> Result<Option<Vec<T>>, ConfigError> {
        let single = |value: &DeValue<'_>| match value {
            DeValue::String(text) => read(text).map_err(|problem| self.error(key, problem)),
            other => Err(self.wrong_type(key, "a list of texts", other)),
        };
        match self.find(key) {
            None => Ok(None),
            Some((_, DeValue::Array(items))) => items
                .iter()
                .map(|item| single(item.get_ref()))
                .collect::<Result<_, _>>()
                .map(Some),
            Some((_, value)) => Ok(Some(vec![single(value)?])),
        }
    }

    /// A text, or a whole number as a text.
    pub(super) fn text_or_number(&self, key: &'static str) -> Result<Option<String>, ConfigError> {
        match self.find(key) {
            Some((_, DeValue::Integer(_))) => Ok(self
                .integer(key, 0..=i64::from(u32::MAX))?
                .map(|number| number.to_string())),
            _ => self.text(key, super::values::plain),
        }
    }

    pub(super) fn boolean(&self, key: &'static str) -> Result<Option<bool>, ConfigError> {
        match self.find(key) {
            None => Ok(None),
            Some((_, DeValue::Boolean(value))) => Ok(Some(*value)),
            Some((_, value)) => Err(self.wrong_type(key, "true or false", value)),
        }
    }

    pub(super) fn integer(
        &self,
        key: &'static str,
        range: RangeInclusive<i64>,
    ) -> Result<Option<i64>, ConfigError> {
        match self.find(key) {
            None => Ok(None),
            Some((_, value)) => self.number(key, value, &range).map(Some),
        }
    }

    /// A list of whole numbers.
    pub(super) fn integers(
        &self,
        key: &'static str,
        range: RangeInclusive<i64>,
    ) -> Result<Option<Vec<i64>>, ConfigError> {
        match self.find(key) {
            None => Ok(None),
            Some((_, DeValue::Array(items))) => items
                .iter()
                .map(|item| self.number(key, item.get_ref(), &range))
                .collect::<Result<_, _>>()
                .map(Some),
            Some((_, value)) => Err(self.wrong_type(key, "a list of whole numbers", value)),
        }
    }

    fn number(
        &self,
        key: &'static str,
        value: &DeValue<'_>,
        range: &RangeInclusive<i64>,
    ) -> Result<i64, ConfigError> {
        let DeValue::Integer(integer) = value else {
            return Err(self.wrong_type(key, "a whole number", value));
        };
        match i64::from_str_radix(integer.as_str(), integer.radix()) {
            Ok(number) if range.contains(&number) => Ok(number),
            _ => Err(self.error(
                key,
                format!(
                    "{} is out of range; give {} to {}",
                    printable(integer.as_str()),
                    range.start(),
                    range.end()
                ),
            )),
        }
    }

    pub(super) fn has(&self, key: &'static str) -> bool {
        self.find(key).is_some()
    }
}

/// The root table, or the syntax error.
pub(super) fn tables<'a>(origin: Origin<'a>) -> Result<Spanned<DeTable<'a>>, ConfigError> {
    DeTable::parse(origin.text)
        .map_err(|error| origin.error(error.span(), String::new(), printable(error.message())))
}

fn kind(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "a text",
        DeValue::Integer(_) => "a whole number",
        DeValue::Float(_) => "a number with a fraction",
        DeValue::Boolean(_) => "true or false",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    }
}

/// A piece of the file for an error: one short line.
pub(super) fn printable(text: &str) -> String {
    let mut short: String = text
        .chars()
        .map(|character| match character.is_control() {
            true => ' ',
            false => character,
        })
        .take(80)
        .collect();
    if text.chars().nth(80).is_some() {
        short.push('…');
    }
    short
}

/// The word that somebody most likely meant: one that begins alike, or the one with the fewest letters to change.
pub(super) fn nearest(word: &str, known: &[&'static str]) -> Option<&'static str> {
    // Nobody types that much by mistake, and the comparison takes the product of both lengths.
    if word.len() > 64 {
        return None;
    }
    let word = word.to_lowercase();
    let begins_alike = |candidate: &str| {
        word.len() >= 3 && (candidate.starts_with(&word) || word.starts_with(candidate))
    };
    known
        .iter()
        .map(|candidate| (distance(&word, candidate), *candidate))
        .filter(|(distance, candidate)| {
            *distance <= 2.max(candidate.len() / 3) || begins_alike(candidate)
        })
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// Levenshtein's distance.
fn distance(one: &str, other: &str) -> usize {
    let other: Vec<char> = other.chars().collect();
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (i, left) in one.chars().enumerate() {
        let mut diagonal = i;
        row[0] = i + 1;
        for (j, right) in other.iter().enumerate() {
            let substituted = diagonal + usize::from(left != *right);
            diagonal = row[j + 1];
            row[j + 1] = substituted.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[other.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_word_is_the_one_somebody_meant() {
        let known = &[
            "url",
            "meeting",
            "user",
            "password_file",
            "token_file",
            "api",
        ];
        assert_eq!(nearest("metting", known), Some("meeting"));
        assert_eq!(nearest("URL", known), Some("url"));
        assert_eq!(nearest("password", known), Some("password_file"));
        assert_eq!(nearest("usr", known), Some("user"));
        assert_eq!(nearest("frobnicate", known), None);
        assert_eq!(nearest(&"x".repeat(100_000), known), None);
    }
}
