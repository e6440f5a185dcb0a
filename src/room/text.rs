//! Texts from outside, as people may see them in a line of the status, the journal, a page or a picture.
//!
//! The rule: one line, no character that is invisible or changes the direction or the place of others, few combining
//! marks on each letter. Honest writing keeps what it needs: joiners inside emoji and inside words of joining scripts,
//! variation selectors, marks, right-to-left letters. Unicode's categories come from the standard library, which knows
//! which characters are printable; only what the categories cannot tell is listed here.

use std::fmt;
use std::ops::Deref;

/// The columns of a name: a column is a Latin letter, half of a Chinese one.
pub const NAME_COLUMNS: usize = 128;

/// Marks on one letter: Hebrew, Thai, Vietnamese and Tibetan need up to four.
const MARKS: usize = 4;
/// Joiners in one emoji or syllable; a family of four has three.
const JOINERS: usize = 4;

const NON_JOINER: char = '\u{200c}';
const JOINER: char = '\u{200d}';
/// What stands at the end of a text that was cut.
const CUT: char = '…';

/// A text from outside that is safe to show in a line. Never empty.
///
/// The only way to make one is to clean a text, so a field of this type cannot hold anything else.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Shown(Box<str>);

impl Shown {
    /// Cleans a text and cuts it to `columns`, between two characters as people see them, with "…" at the end. `None`
    /// if nothing visible is left. The result has at most 24 bytes a column.
    pub fn new(text: &str, columns: usize) -> Option<Self> {
        let text = shown(text, columns);
        (!text.is_empty()).then(|| Self(text.into()))
    }

    /// A name of a member; `None` if nothing visible is left.
    pub fn name(text: &str) -> Option<Self> {
        Self::new(text, NAME_COLUMNS)
    }

    /// Who has neither a visible name nor a visible id.
    pub fn unknown() -> Self {
        Self("guest".into())
    }
}

impl Deref for Shown {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The text of [`Shown`], which may be empty. `usize::MAX` columns never cut.
pub fn shown(text: &str, columns: usize) -> String {
    let mut line = Line::default();
    for letter in text.chars() {
        line.push(letter);
        // Enough to know that it is cut.
        if line.width > columns {
            break;
        }
    }
    line.cut(columns)
}

/// A long line without what [`shown`] removes; its blanks and its length stay.
pub fn one_line(text: &str) -> String {
    if is_plain(text) {
        return text.to_owned();
    }
    let words: Vec<String> = text
        .split(' ')
        .map(|word| shown(word, usize::MAX))
        .collect();
    words.join(" ")
}

/// Whether a line has nothing that [`shown`] removes, except blanks. An id that fails this could look like another one.
pub fn is_plain(text: &str) -> bool {
    let breaks = |letter: char| letter.is_control() || matches!(letter, '\u{2028}' | '\u{2029}');
    text.bytes().all(|byte| matches!(byte, b' '..=b'~'))
        || !text.contains(breaks)
            && text
                .split(char::is_whitespace)
                .all(|word| shown(word, usize::MAX) == word)
}

/// A line under construction.
#[derive(Default)]
struct Line {
    text: String,
    /// Where each character as people see it begins, and how wide the line is before it.
    clusters: Vec<(usize, usize)>,
    width: usize,
    /// What the next mark, selector or joiner belongs to; nothing at the beginning and after a blank.
    base: Option<Base>,
    /// A blank was read, which is written before the next visible character.
    blank: bool,
}

/// A visible letter or emoji and what was put on it.
#[derive(Clone, Copy)]
struct Base {
    letter: char,
    /// The last character written: the letter or a mark on it.
    last: char,
    marks: usize,
    selected: bool,
    toned: bool,
    joiners: usize,
    /// A joiner that is written if the next character suits it.
    joiner: Option<char>,
}

impl Line {
    fn push(&mut self, letter: char) {
        match Kind::of(letter) {
            Kind::Blank => {
                self.end_word();
                self.blank = true;
            }
            Kind::Hidden => {}
            Kind::Joiner => {
                if let Some(base) = &mut self.base
                    && base.joiner.is_none()
                    && base.joiners < JOINERS
                {
                    base.joiner = Some(letter);
                }
            }
            Kind::Selector => {
                if let Some(base) = &mut self.base
                    && !base.selected
                    && base.joiner.is_none()
                    && !base.letter.is_ascii_alphabetic()
                {
                    base.selected = true;
                    self.text.push(letter);
                }
            }
            Kind::Tone if self.base.is_some_and(|base| base.may_be_toned()) => {
                if let Some(base) = &mut self.base {
                    base.toned = true;
                }
                self.text.push(letter);
            }
            Kind::Mark => self.mark(letter),
            Kind::Tone | Kind::Visible => self.visible(letter),
        }
    }

    fn mark(&mut self, letter: char) {
        let Some(mut base) = self.base else { return };
        if base.marks >= MARKS {
            return;
        }
        if let Some(joiner) = base.joiner.take()
            && base.joins(joiner, letter)
        {
            self.text.push(joiner);
            base.joiners += 1;
        }
        base.marks += 1;
        base.last = letter;
        self.text.push(letter);
        self.base = Some(base);
    }

    fn visible(&mut self, letter: char) {
        let before = self.base.take();
        let mut next = Base {
            letter,
            last: letter,
            marks: 0,
            selected: false,
            toned: false,
            joiners: 0,
            joiner: None,
        };
        if self.blank && !self.text.is_empty() {
            self.clusters.push((self.text.len(), self.width));
            self.text.push(' ');
            self.width += 1;
        }
        self.blank = false;
        let mut one_with_it = before.is_some_and(|before| before.pairs_with(letter));
        if let Some(before) = before
            && let Some(joiner) = before.joiner
            && before.joins(joiner, letter)
        {
            self.text.push(joiner);
            next.joiners = before.joiners + 1;
            one_with_it = true;
        }
        if one_with_it {
            // A flag is two letters: the third begins another one.
            next.toned |= is_flag_letter(letter);
        } else {
            self.clusters.push((self.text.len(), self.width));
        }
        self.text.push(letter);
        self.width += width(letter);
        self.base = Some(next);
    }

    /// A joiner at the end of a word says how its last letter looks, if that is half a consonant.
    fn end_word(&mut self) {
        if let Some(base) = self.base.take()
            && let Some(joiner) = base.joiner
            && is_virama(base.last)
        {
            self.text.push(joiner);
        }
    }

    fn cut(mut self, columns: usize) -> String {
        self.end_word();
        if self.width > columns {
            let room = columns.saturating_sub(1);
            let fits = self
                .clusters
                .iter()
                .rev()
                .find(|(_, width)| *width <= room)
                .map_or(0, |(start, _)| *start);
            self.text.truncate(fits);
            self.text.truncate(self.text.trim_end().len());
            if columns > 0 {
                self.text.push(CUT);
            }
        }
        self.text
    }
}

impl Base {
    fn may_be_toned(&self) -> bool {
        is_emoji(self.letter) && !self.toned && self.joiner.is_none()
    }

    /// Two regional indicators are one flag.
    fn pairs_with(&self, next: char) -> bool {
        is_flag_letter(self.letter) && is_flag_letter(next) && !self.toned && self.joiner.is_none()
    }

    /// Whether a joiner between this and the next character means something to the writing.
    fn joins(&self, joiner: char, next: char) -> bool {
        let script = joining_script(self.last);
        script.is_some() && script == joining_script(next)
            || joiner == JOINER && is_emoji(self.letter) && is_emoji(next)
    }
}

/// What a character does to a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Visible,
    /// Drawn on the letter before it.
    Mark,
    /// Chooses between two pictures of the letter before it.
    Selector,
    /// The colour of a skin.
    Tone,
    Joiner,
    /// White space, or what looks like it: a line break too.
    Blank,
    /// Nothing to see: controls, formats, private and unassigned characters.
    Hidden,
}

impl Kind {
    fn of(letter: char) -> Self {
        match letter {
            '!'..='~' => Self::Visible,
            NON_JOINER | JOINER => Self::Joiner,
            '\u{fe00}'..='\u{fe0f}' | '\u{180b}'..='\u{180d}' | '\u{180f}' => Self::Selector,
            '\u{e0100}'..='\u{e01ef}' => Self::Selector,
            '\u{1f3fb}'..='\u{1f3ff}' => Self::Tone,
            // Letters and symbols that are drawn as nothing: Hangul fillers, an empty Braille cell, a note without head.
            '\u{115f}' | '\u{1160}' | '\u{3164}' | '\u{ffa0}' | '\u{2800}' | '\u{1d159}' => {
                Self::Blank
            }
            // Marks that are drawn as nothing.
            '\u{34f}' | '\u{17b4}' | '\u{17b5}' | '\u{16fe4}' => Self::Hidden,
            // Vowels and ends of Hangul syllables take no column of their own.
            '\u{1161}'..='\u{11ff}' | '\u{d7b0}'..='\u{d7fb}' => Self::Mark,
            _ if letter.is_whitespace() => Self::Blank,
            _ => Self::by_category(letter),
        }
    }

    /// By the standard library's table of printable characters (general categories other than C and Z), which also
    /// knows the combining ones: those are escaped at the beginning of a text only.
    fn by_category(letter: char) -> Self {
        let escaped = |text: &str| text.escape_debug().any(|one| one == '\\');
        let mut text = String::from("a");
        text.push(letter);
        match (escaped(&text), escaped(&text[1..])) {
            (true, _) => Self::Hidden,
            (false, true) => Self::Mark,
            (false, false) => Self::Visible,
        }
    }
}

fn is_flag_letter(letter: char) -> bool {
    matches!(letter, '\u{1f1e6}'..='\u{1f1ff}')
}

/// Emoji and the symbols that are parts of emoji.
fn is_emoji(letter: char) -> bool {
    matches!(
        letter,
        '\u{2190}'..='\u{2bff}' | '\u{3030}' | '\u{303d}' | '\u{3297}' | '\u{3299}' | '\u{1f000}'..='\u{1faff}'
    )
}

/// The scripts in which a joiner changes how letters look; a number for each.
fn joining_script(letter: char) -> Option<u8> {
    let script = match letter {
        '\u{600}'..='\u{6ff}' | '\u{750}'..='\u{77f}' | '\u{860}'..='\u{8ff}' => 1,
        '\u{fb50}'..='\u{fdff}' | '\u{fe70}'..='\u{fefc}' => 1,
        '\u{700}'..='\u{74f}' => 2,
        '\u{7c0}'..='\u{7ff}' => 3,
        // Devanagari to Sinhala, a block of 128 each.
        '\u{900}'..='\u{dff}' => return u8::try_from((u32::from(letter) - 0x900) / 0x80 + 10).ok(),
        '\u{f00}'..='\u{fff}' => 4,
        '\u{1000}'..='\u{109f}' => 5,
        '\u{1780}'..='\u{17ff}' => 6,
        '\u{1800}'..='\u{18af}' => 7,
        '\u{a840}'..='\u{a87f}' => 8,
        // Scripts of India and around that few write today.
        '\u{11000}'..='\u{11fff}' => 9,
        _ => return None,
    };
    Some(script)
}

/// The sign that takes a consonant's vowel away.
fn is_virama(letter: char) -> bool {
    matches!(
        letter,
        '\u{94d}'
            | '\u{9cd}'
            | '\u{a4d}'
            | '\u{acd}'
            | '\u{b4d}'
            | '\u{bcd}'
            | '\u{c4d}'
            | '\u{ccd}'
            | '\u{d4d}'
            | '\u{dca}'
            | '\u{1039}'
            | '\u{17d2}'
    )
}

/// Columns in a terminal (Unicode Standard Annex 11), roughly.
fn width(letter: char) -> usize {
    let wide = matches!(
        letter,
        '\u{1100}'..='\u{115f}'
            | '\u{2e80}'..='\u{303e}'
            | '\u{3041}'..='\u{a4cf}'
            | '\u{a960}'..='\u{a97f}'
            | '\u{ac00}'..='\u{d7a3}'
            | '\u{f900}'..='\u{faff}'
            | '\u{fe30}'..='\u{fe6f}'
            | '\u{ff01}'..='\u{ff60}'
            | '\u{ffe0}'..='\u{ffe6}'
            | '\u{1f300}'..='\u{1faff}'
            | '\u{20000}'..='\u{3fffd}'
    );
    1 + usize::from(wide)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(text: &str) -> String {
        shown(text, usize::MAX)
    }

    #[test]
    fn no_invisible_character_and_no_direction_mark_is_left() {
        for (text, left) in [
            ("Ada \u{202e}muted\u{202c}", "Ada muted"),
            ("Ada\u{2066}\u{2067}", "Ada"),
            ("\u{200f}Ada\u{61c}", "Ada"),
            ("A\u{200b}da\u{2060}\u{feff}", "Ada"),
            ("Ada\u{e0041}\u{e0042}", "Ada"),
            ("A\u{ad}d\u{34f}a\u{180e}", "Ada"),
            ("Ada\u{2028}joined\u{2029}", "Ada joined"),
            ("Ada\r\n\tjoined", "Ada joined"),
            ("\u{1b}[31mAda\u{9b}", "[31mAda"),
            ("A\u{e000}d\u{f0000}a\u{10fffd}", "Ada"),
            ("A\u{378}d\u{fffe}a\u{2065}", "Ada"),
            ("A\u{200d}d\u{200c}a\u{fe0f}", "Ada"),
            ("\u{3164}\u{2800} \u{200b}\u{a0}\u{3000}", ""),
            ("\u{301}\u{200d}\u{fe0f}", ""),
        ] {
            assert_eq!(all(text), left, "{text:?}");
        }
    }

    /// Every character there is, alone and inside a word: none but the listed kinds changes how a line is read.
    #[test]
    fn what_is_left_is_never_a_format_character() {
        let bad = |c: char| {
            c.is_control()
                || matches!(
                    c,
                    '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{feff}' | '\u{2028}' | '\u{2029}'
                )
                || matches!(c, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}')
                || matches!(c, '\u{600}'..='\u{605}' | '\u{6dd}' | '\u{70f}' | '\u{8e2}')
                || matches!(c, '\u{e000}'..='\u{f8ff}' | '\u{fff0}'..='\u{fffb}' | '\u{e0000}'..='\u{e00ff}')
                || u32::from(c) & 0xfffe == 0xfffe
                || u32::from(c) >= 0xf_0000
                || c.is_whitespace() && c != ' '
        };
        // Planes 4 to 13 are unassigned.
        let assigned = (0..=0x0003_ffff).chain(0x000e_0000..=0x0010_ffff);
        for c in assigned.filter_map(char::from_u32) {
            let left = all(&format!("a{c}\u{5d1}"));
            assert!(!left.chars().any(bad), "U+{:04X}", u32::from(c));
            assert!(is_plain(&left), "U+{:04X}", u32::from(c));
        }
    }

    #[test]
    fn honest_writing_stays_as_it_is() {
        for text in [
            "Ada Lovelace, Room 7 (east) #2",
            "\u{1f469}\u{200d}\u{1f467} \u{1f44b}\u{1f3fd} \u{2764}\u{fe0f}\u{200d}\u{1f525} 1\u{fe0f}\u{20e3} \u{1f1e9}\u{1f1ea}",
            "\u{1f469}\u{1f3fd}\u{200d}\u{1f4bb}",
            "\u{645}\u{6cc}\u{200c}\u{62e}\u{648}\u{627}\u{647}\u{645}",
            "\u{915}\u{94d}\u{200d}\u{937}",
            "\u{9b0}\u{200d}\u{9cd}\u{9af}",
            "\u{d05}\u{d35}\u{d28}\u{d4d}\u{200d}",
            "Zoe\u{308} Nguye\u{302}\u{303}n",
            "\u{5d3}\u{5bc}\u{5b8}\u{5d5}\u{5b4}\u{5d3} \u{645}\u{62d}\u{645}\u{651}\u{64e}\u{62f}",
            "\u{e17}\u{e35}\u{e48}\u{e1b}\u{e23}\u{e30}\u{e0a}\u{e38}\u{e21}",
            "山田太郎\u{e0100} 김민준 Đặng Ωmega Ж",
            "\u{1fae8}\u{1fadf}",
        ] {
            assert_eq!(all(text), text, "{}", text.escape_unicode());
            assert!(is_plain(text));
        }
        assert!(is_plain(" Ada\u{a0} 7"));
        assert!(!is_plain("Ada\u{2028}7"));
        assert_eq!(one_line("  A\u{202e}da   B\n"), "  Ada   B");
        assert!(!is_plain("A\u{202e}da"));
    }

    #[test]
    fn marks_do_not_pile_up() {
        let piled = all(&format!("A{}da", "\u{301}\u{200b}".repeat(300)));
        assert_eq!(piled, format!("A{}da", "\u{301}".repeat(MARKS)));
        let joined = all(&"\u{1f468}\u{200d}".repeat(300));
        assert!(joined.matches('\u{200d}').count() < 300);
        assert_eq!(all(" \u{301}a"), "a");
    }

    #[test]
    fn a_text_is_cut_between_characters_as_people_see_them() {
        assert_eq!(shown(&"W".repeat(2000), 8), "WWWWWWW…");
        assert_eq!(shown("WWWWWWWW", 8), "WWWWWWWW");
        assert_eq!(shown("Ada   Lovelace", 5), "Ada…");
        assert_eq!(shown("山田太郎", 5), "山田…");
        assert_eq!(shown("山田太郎", 8), "山田太郎");
        // An accent and a family stay with what they belong to.
        assert_eq!(shown("abe\u{301}\u{323}fg", 4), "abe\u{301}\u{323}…");
        assert_eq!(shown("a\u{1f469}\u{200d}\u{1f467}b", 4), "a…");
        assert_eq!(shown("a\u{1f1e9}\u{1f1ea}bc", 3), "a…");
        assert_eq!(shown("abc", 0), "");
        let longest = format!("山{}", "\u{1d165}".repeat(300)).repeat(300);
        assert!(shown(&longest, 64).len() <= 64 * 24);
        for text in ["山田太郎 Ada", "a\u{1f469}\u{200d}\u{1f467}bcdef"] {
            let once = shown(text, 6);
            assert_eq!(shown(&once, 6), once);
        }
    }

    #[test]
    fn a_name_is_never_empty() {
        assert_eq!(Shown::name(" \u{200b}\u{3164}\n"), None);
        assert_eq!(
            Shown::name(" Ada\n").map(|name| name.to_string()),
            Some("Ada".to_owned())
        );
    }
}
