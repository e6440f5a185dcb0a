//! As much of Rust's grammar as the structure tests need: comments, literals, paths, identifiers.

use std::path::{Path, PathBuf};

/// A source file.
pub(super) struct Source {
    /// Below `src`.
    pub(super) path: PathBuf,
    pub(super) text: String,
}

impl Source {
    /// The module of the crate's root that it belongs to.
    pub(super) fn module(&self) -> String {
        let first = self.path.components().next().expect("a file has a name");
        first
            .as_os_str()
            .to_string_lossy()
            .trim_end_matches(".rs")
            .to_owned()
    }

    /// Without what is behind the unit tests' header.
    pub(super) fn shipped(&self) -> &str {
        match self.text.find("#[cfg(test)]\nmod ") {
            Some(end) => &self.text[..end],
            None => &self.text,
        }
    }
}

fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}

/// The text with comments blanked out, and with `strings` the content of literals too. Line breaks stay.
pub(super) fn code(text: &str, strings: bool) -> String {
    let bytes = text.as_bytes();
    let mut out = bytes.to_vec();
    let blank = |out: &mut [u8], from: usize, to: usize| {
        for byte in &mut out[from..to] {
            if *byte != b'\n' {
                *byte = b' ';
            }
        }
    };
    let mut at = 0;
    while at < bytes.len() {
        let rest = &bytes[at..];
        let from = at;
        if rest.starts_with(b"//") {
            at += rest
                .iter()
                .position(|byte| *byte == b'\n')
                .unwrap_or(rest.len());
            blank(&mut out, from, at);
        } else if rest.starts_with(b"/*") {
            let mut depth = 0;
            loop {
                match bytes.get(at..at + 2) {
                    Some(b"/*") => (depth, at) = (depth + 1, at + 2),
                    Some(b"*/") => (depth, at) = (depth - 1, at + 2),
                    Some(_) => at += 1,
                    None => (depth, at) = (0, bytes.len()),
                }
                if depth == 0 {
                    break;
                }
            }
            blank(&mut out, from, at);
        } else if let Some(end) = raw_string_end(bytes, at) {
            at = end;
            if strings {
                blank(&mut out, from, at);
            }
        } else if rest[0] == b'"' {
            at += 1;
            while at < bytes.len() && bytes[at] != b'"' {
                at += if bytes[at] == b'\\' { 2 } else { 1 };
            }
            at = (at + 1).min(bytes.len());
            if strings {
                blank(&mut out, from, at);
            }
        } else if rest.starts_with(b"'\\") {
            // An escaped character; the one after the backslash may be a quote.
            let close = rest.iter().skip(3).position(|byte| *byte == b'\'');
            at += close.map_or(rest.len(), |close| close + 4);
            blank(&mut out, from, at);
        } else if rest.starts_with(b"'\"'") {
            at += 3;
            blank(&mut out, from, at);
        } else {
            at += 1;
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// The end of the raw string that begins at `at`, if one does.
fn raw_string_end(bytes: &[u8], at: usize) -> Option<usize> {
    if at > 0 && is_word(bytes[at - 1]) && bytes[at - 1] != b'b' {
        return None;
    }
    let quote = bytes[at..].strip_prefix(b"r")?;
    let hashes = quote.iter().take_while(|byte| **byte == b'#').count();
    if quote.get(hashes) != Some(&b'"') {
        return None;
    }
    let close = [b"\"".as_slice(), &b"#".repeat(hashes)].concat();
    let inside = at + 1 + hashes + 1;
    let length = bytes[inside..]
        .windows(close.len())
        .position(|window| window == close)?;
    Some(inside + length + close.len())
}

pub(super) fn line_of(text: &str, at: usize) -> usize {
    text[..at].matches('\n').count() + 1
}

/// Where `name` stands as a whole word.
pub(super) fn words<'a>(code: &'a str, name: &'a str) -> impl Iterator<Item = usize> + 'a {
    let bytes = code.as_bytes();
    code.match_indices(name)
        .map(|(at, _)| at)
        .filter(move |at| {
            let before = at.checked_sub(1).map(|before| bytes[before]);
            let after = bytes.get(at + name.len()).copied();
            let goes_on = is_word(name.as_bytes()[name.len() - 1]) && after.is_some_and(is_word);
            !goes_on && !before.is_some_and(is_word)
        })
}

fn first_word(text: &str) -> &str {
    let text = text.trim_start();
    let end = text
        .bytes()
        .position(|byte| !is_word(byte))
        .unwrap_or(text.len());
    &text[..end]
}

/// The first words behind `crate::`, also of a group in braces, and their positions.
pub(super) fn imports<'a>(code: &'a str, prefix: &'a str) -> Vec<(usize, &'a str)> {
    let mut found = Vec::new();
    for at in words(code, prefix) {
        let rest = &code[at + prefix.len()..];
        let Some(group) = rest.trim_start().strip_prefix('{') else {
            found.push((at, first_word(rest)));
            continue;
        };
        let mut depth = 0;
        let mut begins = true;
        for (index, letter) in group.char_indices() {
            match letter {
                '{' => depth += 1,
                '}' if depth == 0 => break,
                '}' => depth -= 1,
                ',' if depth == 0 => begins = true,
                _ if begins && !letter.is_whitespace() => {
                    found.push((at, first_word(&group[index..])));
                    begins = false;
                }
                _ => {}
            }
        }
    }
    found
}

/// Ways out of a module of the root that do not say `crate::`: as many `super::` as it takes to get there.
pub(super) fn climbs<'a>(path: &Path, code: &'a str) -> Vec<(usize, &'a str)> {
    let mut depth = path.components().count();
    if path.ends_with("mod.rs") {
        depth -= 1;
    }
    let tests = code.find("#[cfg(test)]\nmod ").unwrap_or(code.len());
    let mut found = Vec::new();
    for at in words(code, "super::") {
        let chain = &code[at..];
        let count = chain.len() - chain.trim_start_matches("super::").len();
        // Inside a chain that was counted from its beginning.
        if code[..at].ends_with("super::") {
            continue;
        }
        if count / "super::".len() >= depth + usize::from(at > tests) {
            found.push((at, first_word(&chain[count..])));
        }
    }
    found
}

/// Words that speak of simulation, as whole identifiers.
pub(super) fn simulation(code: &str) -> Vec<(usize, &str)> {
    let mut found = Vec::new();
    let mut at = 0;
    for identifier in code.split(|letter: char| !(letter.is_ascii_alphanumeric() || letter == '_'))
    {
        let mut parts: Vec<String> = Vec::new();
        for letter in identifier.chars() {
            match parts.last_mut() {
                Some(part)
                    if letter != '_'
                        && !(letter.is_ascii_uppercase()
                            && part.ends_with(|last: char| last.is_ascii_lowercase())) =>
                {
                    part.push(letter);
                }
                _ => parts.push(letter.to_string()),
            }
        }
        let speaks = parts.iter().any(|part| {
            let part = part.trim_start_matches('_').to_ascii_lowercase();
            part == "sim" || part.starts_with("simulat")
        });
        if speaks {
            found.push((at, identifier));
        }
        at += identifier.len();
        at += code[at..].chars().next().map_or(0, char::len_utf8);
    }
    found
}
