//! TOML documents merged by key, which know from which file and line each value came.

use std::ops::Range;
use std::path::Path;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::ConfigError;
use super::checks::check;
use super::keys::{Key, Kind};
use crate::room::shown;

/// Where a document came from, to say so in errors.
#[derive(Clone, Copy)]
pub(super) struct Origin<'a> {
    pub(super) file: &'a Path,
    pub(super) text: &'a str,
}

impl<'a> Origin<'a> {
    /// `span` is a range of bytes of the text.
    pub(super) fn error(
        self,
        span: Option<Range<usize>>,
        key: String,
        problem: impl Into<String>,
    ) -> ConfigError {
        ConfigError {
            file: self.file.to_owned(),
            line: span.map(|span| self.line(&span)),
            key,
            problem: problem.into(),
        }
    }

    /// From 1.
    pub(super) fn line(self, span: &Range<usize>) -> usize {
        let before = self.text.as_bytes().iter().take(span.start);
        before.filter(|byte| **byte == b'\n').count() + 1
    }

    fn folder(self) -> &'a Path {
        self.file.parent().unwrap_or(Path::new(""))
    }
}

/// One table, put together from all layers.
#[derive(Default)]
pub(super) struct Tree<'a>(Vec<Entry<'a>>);

struct Entry<'a> {
    name: &'a str,
    /// Of the newest layer that says something about it.
    origin: Origin<'a>,
    /// Of the key's name.
    span: Range<usize>,
    node: Node<'a>,
}

pub(super) enum Node<'a> {
    Table(Tree<'a>),
    /// Each table with its place.
    Tables(Vec<(Range<usize>, Tree<'a>)>),
    Value(&'a DeValue<'a>),
}

impl<'a> Node<'a> {
    fn new(origin: Origin<'a>, value: &'a DeValue<'a>) -> Self {
        let tree = |table| {
            let mut tree = Tree::default();
            tree.put(origin, table);
            tree
        };
        match value {
            DeValue::Table(table) => Self::Table(tree(table)),
            DeValue::Array(items) => {
                let tables: Option<Vec<_>> = items
                    .iter()
                    .map(|item| match item.get_ref() {
                        DeValue::Table(table) => Some((item.span(), tree(table))),
                        _ => None,
                    })
                    .collect();
                match tables {
                    Some(tables) if !tables.is_empty() => Self::Tables(tables),
                    _ => Self::Value(value),
                }
            }
            _ => Self::Value(value),
        }
    }
}

impl<'a> Tree<'a> {
    /// Puts a document over what is there, after it was found right by itself: tables merge, lists and values
    /// replace.
    ///
    /// # Errors
    /// The first thing in it that [`Kind`] does not allow.
    pub(super) fn layer(
        &mut self,
        origin: Origin<'a>,
        table: &'a DeTable<'a>,
        keys: &'static [Key],
    ) -> Result<(), ConfigError> {
        let mut alone = Tree::default();
        alone.put(origin, table);
        Section::root(origin, &alone, keys).check()?;
        self.put(origin, table);
        Ok(())
    }

    fn put(&mut self, origin: Origin<'a>, table: &'a DeTable<'a>) {
        let mut items: Vec<_> = table.iter().collect();
        items.sort_by_key(|(name, _)| name.span().start);
        for (name, value) in items {
            let (span, name) = (name.span(), name.get_ref().as_ref());
            let Some(entry) = self.0.iter_mut().find(|entry| entry.name == name) else {
                self.0.push(Entry {
                    name,
                    origin,
                    span,
                    node: Node::new(origin, value.get_ref()),
                });
                continue;
            };
            (entry.origin, entry.span) = (origin, span);
            match (&mut entry.node, value.get_ref()) {
                (Node::Table(tree), DeValue::Table(table)) => tree.put(origin, table),
                (node, value) => *node = Node::new(origin, value),
            }
        }
    }

    /// Every value's dotted key, file and line.
    pub(super) fn places(&self, prefix: &str, found: &mut Vec<(String, &'a Path, usize)>) {
        for entry in &self.0 {
            let path = format!("{prefix}{}", entry.name);
            match &entry.node {
                Node::Table(tree) => tree.places(&format!("{path}."), found),
                Node::Tables(tables) => {
                    for (index, (_, tree)) in tables.iter().enumerate() {
                        tree.places(&format!("{path}[{index}]."), found);
                    }
                }
                Node::Value(_) => {
                    found.push((path, entry.origin.file, entry.origin.line(&entry.span)));
                }
            }
        }
    }
}

/// One table of the settings, which may be absent: then every key of it is.
///
/// What is read from it was found right when its layer was put into the tree, so a value of another type than its
/// [`Kind`] does not occur.
pub(super) struct Section<'a> {
    /// Where it begins; of the newest layer that says something in it.
    origin: Origin<'a>,
    /// Of the key that names the table.
    span: Option<Range<usize>>,
    /// Dotted; empty for the document itself.
    path: String,
    tree: Option<&'a Tree<'a>>,
    keys: &'static [Key],
}

impl<'a> Section<'a> {
    /// The document itself. `origin` is for what concerns no key that is there.
    pub(super) fn root(origin: Origin<'a>, tree: &'a Tree<'a>, keys: &'static [Key]) -> Self {
        Self {
            origin,
            span: None,
            path: String::new(),
            tree: Some(tree),
            keys,
        }
    }

    fn dotted(&self, key: &str) -> String {
        match self.path.as_str() {
            "" => key.to_owned(),
            path => format!("{path}.{key}"),
        }
    }

    fn find(&self, key: &str) -> Option<&'a Entry<'a>> {
        debug_assert!(
            self.keys.iter().any(|known| known.name == key),
            "{key} is not listed"
        );
        self.tree?.0.iter().find(|entry| entry.name == key)
    }

    fn value(&self, key: &str) -> Option<&'a DeValue<'a>> {
        match &self.find(key)?.node {
            Node::Value(value) => Some(value),
            Node::Table(_) | Node::Tables(_) => None,
        }
    }

    /// An error about a key of this table, at its line, else at the line of the table's header.
    pub(super) fn error(&self, key: &'static str, problem: impl Into<String>) -> ConfigError {
        match self.find(key) {
            Some(entry) => self.error_at(entry, problem),
            None => self
                .origin
                .error(self.span.clone(), self.dotted(key), problem),
        }
    }

    fn error_at(&self, entry: &Entry<'_>, problem: impl Into<String>) -> ConfigError {
        let (origin, span) = (entry.origin, entry.span.clone());
        origin.error(Some(span), self.dotted(&printable(entry.name)), problem)
    }

    // ---- checking

    /// Whether every key is known and says what its kind allows.
    fn check(&self) -> Result<(), ConfigError> {
        let entries = self.tree.map_or(&[][..], |tree| &tree.0);
        for entry in entries {
            let Some(key) = self.keys.iter().find(|key| key.name == entry.name) else {
                let known: Vec<_> = self.keys.iter().map(|key| key.name).collect();
                return Err(self.error_at(
                    entry,
                    match nearest(entry.name, &known) {
                        Some(near) => format!("unknown key; did you mean \"{near}\"?"),
                        None => format!("unknown key; known here: {}", known.join(", ")),
                    },
                ));
            };
            match (&key.kind, &entry.node) {
                (Kind::Table(keys), _) => self.open(entry, keys).check()?,
                (Kind::Tables(keys), Node::Tables(_)) => {
                    for section in self.open_each(entry, keys) {
                        section.check()?;
                    }
                }
                _ => {}
            }
            check(key, &entry.node).map_err(|problem| self.error_at(entry, problem))?;
        }
        Ok(())
    }

    fn open(&self, entry: &'a Entry<'a>, keys: &'static [Key]) -> Section<'a> {
        Section {
            origin: entry.origin,
            span: Some(entry.span.clone()),
            path: self.dotted(entry.name),
            tree: match &entry.node {
                Node::Table(tree) => Some(tree),
                Node::Tables(_) | Node::Value(_) => None,
            },
            keys,
        }
    }

    fn open_each(&self, entry: &'a Entry<'a>, keys: &'static [Key]) -> Vec<Section<'a>> {
        let tables = match &entry.node {
            Node::Tables(tables) => tables.as_slice(),
            Node::Table(_) | Node::Value(_) => &[],
        };
        let each = tables.iter().enumerate();
        each.map(|(index, (span, tree))| Section {
            origin: entry.origin,
            span: Some(span.clone()),
            path: format!("{}[{index}]", self.dotted(entry.name)),
            tree: Some(tree),
            keys,
        })
        .collect()
    }

    // ---- reading

    pub(super) fn section(&self, key: &'static str) -> Section<'a> {
        let keys = match self.keys.iter().find(|known| known.name == key) {
            Some(Key {
                kind: Kind::Table(keys),
                ..
            }) => keys,
            _ => &[][..],
        };
        match self.find(key) {
            Some(entry) => self.open(entry, keys),
            None => Section {
                origin: self.origin,
                span: None,
                path: self.dotted(key),
                tree: None,
                keys,
            },
        }
    }

    /// An array of tables.
    pub(super) fn sections(&self, key: &'static str) -> Vec<Section<'a>> {
        match (
            self.keys.iter().find(|known| known.name == key),
            self.find(key),
        ) {
            (
                Some(Key {
                    kind: Kind::Tables(keys),
                    ..
                }),
                Some(entry),
            ) => self.open_each(entry, keys),
            _ => Vec::new(),
        }
    }

    /// The value of a text. `read` also takes the folder of the file that says it.
    pub(super) fn text<T>(
        &self,
        key: &'static str,
        read: impl FnOnce(&str, &Path) -> Result<T, String>,
    ) -> Result<Option<T>, ConfigError> {
        match (self.find(key), self.value(key)) {
            (Some(entry), Some(DeValue::String(text))) => read(text, entry.origin.folder())
                .map(Some)
                .map_err(|problem| self.error_at(entry, problem)),
            _ => Ok(None),
        }
    }

    /// A list of texts; a single one counts as a list of one.
    pub(super) fn texts<T>(
        &self,
        key: &'static str,
        read: impl Fn(&str) -> Result<T, String>,
    ) -> Result<Option<Vec<T>>, ConfigError> {
        let Some(value) = self.value(key) else {
            return Ok(None);
        };
        texts(value)
            .map(|text| read(text).map_err(|problem| self.error(key, problem)))
            .collect::<Result<_, _>>()
            .map(Some)
    }

    /// A text, or a whole number as a text.
    pub(super) fn text_or_number(&self, key: &'static str) -> Option<String> {
        match self.value(key)? {
            DeValue::String(text) => Some(text.to_string()),
            value => number(value).map(|number| number.to_string()),
        }
    }

    pub(super) fn boolean(&self, key: &'static str) -> Option<bool> {
        match self.value(key)? {
            DeValue::Boolean(value) => Some(*value),
            _ => None,
        }
    }

    pub(super) fn integer(&self, key: &'static str) -> Option<i64> {
        self.value(key).and_then(number)
    }

    /// A list of whole numbers.
    pub(super) fn integers(&self, key: &'static str) -> Option<Vec<i64>> {
        match self.value(key)? {
            DeValue::Array(items) => items.iter().map(|item| number(item.get_ref())).collect(),
            _ => None,
        }
    }

    pub(super) fn has(&self, key: &'static str) -> bool {
        self.find(key).is_some()
    }
}

fn texts<'a>(value: &'a DeValue<'a>) -> impl Iterator<Item = &'a str> {
    let (single, items) = match value {
        DeValue::String(text) => (Some(text.as_ref()), &[][..]),
        DeValue::Array(items) => (None, &items[..]),
        _ => (None, &[][..]),
    };
    let each = items.iter().filter_map(|item| match item.get_ref() {
        DeValue::String(text) => Some(text.as_ref()),
        _ => None,
    });
    single.into_iter().chain(each)
}

pub(super) fn number(value: &DeValue<'_>) -> Option<i64> {
    match value {
        DeValue::Integer(integer) => i64::from_str_radix(integer.as_str(), integer.radix()).ok(),
        _ => None,
    }
}

/// The root table, or the syntax error.
pub(super) fn tables<'a>(origin: Origin<'a>) -> Result<Spanned<DeTable<'a>>, ConfigError> {
    DeTable::parse(origin.text)
        .map_err(|error| origin.error(error.span(), String::new(), printable(error.message())))
}

/// A piece of the file for an error: one short line.
pub(super) fn printable(text: &str) -> String {
    shown(text, 80)
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
