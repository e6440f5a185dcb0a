//! A few text slides that change every five seconds: screen content.

use super::camera::Picture;
use crate::devices::canvas::{Canvas, RenderedText, Yuv};
use crate::devices::picture::i420_len;
use crate::room::Timestamp;

const SECONDS_EACH: u64 = 5;
const PAPER: Yuv = Yuv(225, 128, 128);
const RULE: Yuv = Yuv(80, 180, 100);
const INK: u8 = 30;

/// Title and lines.
const SLIDES: [(&str, [&str; 3]); 4] = [
    (
        "Agenda",
        ["1. What was done", "2. What is next", "3. Questions"],
    ),
    (
        "What was done",
        [
            "The room is in the meeting",
            "Everybody sees it",
            "Everybody hears it",
        ],
    ),
    (
        "What is next",
        ["Stay there", "Come back by itself", "Tell what happened"],
    ),
    (
        "Questions",
        ["Ask them now", "or write them down", "Thank you"],
    ),
];

/// Draws slides of one size.
pub(super) struct Slides {
    pictures: Vec<Vec<u8>>,
}

impl Slides {
    /// Both sides even.
    pub(super) fn new(box_name: &str, width: usize, height: usize) -> Self {
        let draw = |number: usize, title: &str, lines: &[&str; 3]| {
            let mut data = vec![0; i420_len(width, height)];
            let mut canvas = Canvas::new(&mut data, width, height);
            canvas.rectangle(0, 0, width, height, PAPER);
            let (left, unit) = (width / 16, height / 12);
            let room = width - 2 * left;
            canvas.text(&RenderedText::fit(title, room, 2 * unit), left, unit, INK);
            canvas.rectangle(left, 3 * unit, room, (unit / 6).max(2), RULE);
            for (index, line) in lines.iter().enumerate() {
                let line = RenderedText::fit(line, room, unit + unit / 4);
                canvas.text(&line, left, (4 + 2 * index) * unit, INK);
            }
            let footer = format!("{box_name}  {} / {}", number + 1, SLIDES.len());
            let footer = RenderedText::fit(&footer, room, unit);
            canvas.text(&footer, left, 11 * unit, INK);
            data
        };
        Self {
            pictures: SLIDES
                .iter()
                .enumerate()
                .map(|(number, (title, lines))| draw(number, title, lines))
                .collect(),
        }
    }
}

impl Picture for Slides {
    fn draw(&mut self, _: u64, captured_at: Timestamp, into: &mut Vec<u8>) {
        let number = captured_at.as_duration().as_secs() / SECONDS_EACH;
        let picture = &self.pictures[number as usize % self.pictures.len()];
        into.clear();
        into.extend_from_slice(picture);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slides_change_every_five_seconds_and_come_around() {
        let mut slides = Slides::new("Room 1", 640, 360);
        let mut at = |seconds: u64| {
            let mut data = Vec::new();
            slides.draw(0, Timestamp::from_millis(seconds * 1000), &mut data);
            data
        };
        let first = at(20);
        assert_eq!(first.len(), i420_len(640, 360));
        assert_eq!(first, at(24));
        assert_ne!(first, at(25));
        assert_eq!(first, at(40));
    }

    #[test]
    fn the_smallest_and_the_largest_size_are_drawn_too() {
        Slides::new("a name that is much too long for such a picture", 160, 90);
        Slides::new("", 1920, 1080);
        Slides::new("", 1920, 90);
    }
}
