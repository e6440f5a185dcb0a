//! A panel without hardware: its lights can be read, its presses come through the control socket.

use std::sync::{Arc, Mutex, PoisonError};

use crate::devices::Panel;
use crate::room::{Led, Pattern};

/// What the lights of a virtual panel show. Clones see the same panel.
#[derive(Clone, Debug, Default)]
pub struct Lights(Arc<Mutex<[Option<Pattern>; 3]>>);

impl Lights {
    /// What a light shows; `None` while it was never set.
    pub fn shown(&self, led: Led) -> Option<Pattern> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)[index(led)]
    }

    fn set(&self, led: Led, pattern: Pattern) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)[index(led)] = Some(pattern);
    }
}

fn index(led: Led) -> usize {
    match led {
        Led::Mic => 0,
        Led::Camera => 1,
        Led::Status => 2,
    }
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct VirtualPanel(Lights);

impl Panel for VirtualPanel {
    fn set_led(&mut self, led: Led, pattern: Pattern) {
        self.0.set(led, pattern);
    }

    fn lights(&self) -> Option<Lights> {
        Some(self.0.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::room::{Color, Shape};

    #[test]
    fn the_lights_can_be_read_from_elsewhere() {
        let mut panel = VirtualPanel::default();
        let lights = panel.lights().expect("a virtual panel has lights");
        assert_eq!(lights.shown(Led::Mic), None);
        let red = Pattern::new(Color::Red, Shape::Steady);
        panel.set_led(Led::Mic, red);
        assert_eq!(lights.shown(Led::Mic), Some(red));
        assert_eq!(lights.shown(Led::Status), None);
    }
}
