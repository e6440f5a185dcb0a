//! Whether a value is what its key may say.

use toml::Spanned;
use toml::de::DeValue;

use super::document::{Node, number, printable};
use super::keys::{Key, Kind};
use super::values;

/// What is wrong with a value by itself.
pub(super) fn check(key: &Key, node: &Node<'_>) -> Result<(), String> {
    let wrong_type = |wanted: &str, value: &str| Err(format!("must be {wanted}, not {value}"));
    let value = match (&key.kind, node) {
        (Kind::Table(_), Node::Table(_)) | (Kind::Tables(_), Node::Tables(_)) => return Ok(()),
        (Kind::Table(_), Node::Tables(_)) => return wrong_type("a table", "a list"),
        (Kind::Table(_), Node::Value(value)) => return wrong_type("a table", kind(value)),
        (Kind::Tables(_), Node::Value(DeValue::Array(items))) => {
            let other = items.iter().map(Spanned::get_ref);
            let other = other
                .filter(|item| !matches!(item, DeValue::Table(_)))
                .map(kind);
            return match other.into_iter().next() {
                Some(other) => wrong_type("a list of tables", other),
                None => Ok(()),
            };
        }
        (Kind::Tables(_), Node::Table(_)) => {
            return wrong_type(&format!("a list: write [[{}]]", key.name), "a table");
        }
        (Kind::Tables(_), Node::Value(value)) => {
            return wrong_type(&format!("a list: write [[{}]]", key.name), kind(value));
        }
        (_, Node::Table(_)) => return wrong_type(wanted(&key.kind), "a table"),
        (Kind::Texts(_) | Kind::Integers { .. }, Node::Tables(_)) => {
            return wrong_type(wanted(&key.kind), "a table");
        }
        (_, Node::Tables(_)) => return wrong_type(wanted(&key.kind), "a list"),
        (_, Node::Value(value)) => *value,
    };
    match (&key.kind, value) {
        (Kind::Text(form), DeValue::String(text)) => (form.check)(text),
        (Kind::Texts(form), DeValue::String(text)) => (form.check)(text),
        (Kind::Texts(form), DeValue::Array(items)) => {
            items.iter().try_for_each(|item| match item.get_ref() {
                DeValue::String(text) => (form.check)(text),
                other => wrong_type(wanted(&key.kind), kind(other)),
            })
        }
        (Kind::Word(words), DeValue::String(text)) => {
            let words = words();
            match words.contains(&text.as_ref()) {
                true => Ok(()),
                false => Err(values::unknown_word(text, &words)),
            }
        }
        (Kind::TextOrNumber, DeValue::String(text)) => values::plain(text).map(drop),
        (Kind::TextOrNumber, DeValue::Integer(_)) => {
            in_range(value, 0, i64::from(u32::MAX)).map(drop)
        }
        (Kind::Boolean, DeValue::Boolean(_)) => Ok(()),
        (Kind::Integer { from, to, even }, DeValue::Integer(_)) => {
            let number = in_range(value, *from, *to)?;
            match *even && number % 2 != 0 {
                true => Err(format!(
                    "{number} is odd; the encoder needs an even number of pixels"
                )),
                false => Ok(()),
            }
        }
        (Kind::Integers { from, to, most }, DeValue::Array(items)) => {
            for item in items.iter().map(Spanned::get_ref) {
                match item {
                    DeValue::Integer(_) => in_range(item, *from, *to)?,
                    other => return wrong_type("a whole number", kind(other)),
                };
            }
            match (1..=*most).contains(&items.len()) {
                true => Ok(()),
                false => Err(format!(
                    "must list 1 to {most} delays, such as {}",
                    key.example
                )),
            }
        }
        (kind_of_key, value) => wrong_type(wanted(kind_of_key), kind(value)),
    }
}

fn in_range(value: &DeValue<'_>, from: i64, to: i64) -> Result<i64, String> {
    match number(value) {
        Some(number) if (from..=to).contains(&number) => Ok(number),
        _ => {
            let text = match value {
                DeValue::Integer(integer) => printable(integer.as_str()),
                _ => "it".to_owned(),
            };
            Err(format!("{text} is out of range; give {from} to {to}"))
        }
    }
}

fn wanted(kind: &Kind) -> &'static str {
    match kind {
        Kind::Table(_) => "a table",
        Kind::Tables(_) => "a list of tables",
        Kind::Text(_) | Kind::Word(_) | Kind::TextOrNumber => "a text in quotes",
        Kind::Texts(_) => "a list of texts",
        Kind::Boolean => "true or false",
        Kind::Integer { .. } => "a whole number",
        Kind::Integers { .. } => "a list of whole numbers",
    }
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
