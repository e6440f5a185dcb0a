use super::*;
use crate::config::PanelBackend;
use crate::room::{Color, Shape};
use std::sync::{Condvar, Mutex, MutexGuard};
use std::time::Instant;

const PATIENCE: Duration = Duration::from_secs(20);

/// Lines of a board in memory.
#[derive(Default)]
struct Fake {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    /// What lines were driven to, in order; `None`: released.
    driven: Vec<(String, Option<bool>)>,
    /// Edges that wait to be heard.
    edges: Vec<(bool, Timestamp)>,
    missing: bool,
}

impl Fake {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    fn drive(&self, line: &str, level: Option<bool>) {
        self.state().driven.push((line.to_owned(), level));
        self.changed.notify_all();
    }

    fn await_driven(&self, what: &str, when: impl Fn(&[(String, Option<bool>)]) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        let mut state = self.state();
        while !when(&state.driven) {
            assert!(Instant::now() < deadline, "{what}: {:?}", state.driven);
            state = self
                .changed
                .wait_timeout(state, Duration::from_millis(100))
                .unwrap()
                .0;
        }
    }
}

struct FakeBoard(Arc<Fake>);

struct FakeLine(Arc<Fake>, String);

impl Board for FakeBoard {
    fn input(&self, line: &PanelLine) -> Result<Box<dyn Input>, String> {
        if self.0.state().missing {
            return Err("not there".to_owned());
        }
        Ok(Box::new(FakeLine(Arc::clone(&self.0), line.line.clone())))
    }
}

impl LightBoard for FakeBoard {
    fn output(&self, line: &PanelLine, lit: bool) -> Result<Box<dyn Output>, String> {
        if self.0.state().missing {
            return Err("not there".to_owned());
        }
        self.0.drive(&line.line, Some(lit));
        Ok(Box::new(FakeLine(Arc::clone(&self.0), line.line.clone())))
    }

    fn make_safe(&self, line: &PanelLine, lit: bool) -> Result<&'static str, String> {
        if self.0.state().missing {
            return Err("not there".to_owned());
        }
        self.0.drive(&line.line, Some(lit));
        Ok("safe")
    }
}

impl Input for FakeLine {
    fn is_active(&mut self) -> Result<bool, String> {
        Ok(false)
    }

    fn wait(&mut self, longest: Duration) -> Result<Option<(bool, Timestamp)>, String> {
        let mut state = self.0.state();
        if state.edges.is_empty() {
            state = self.0.changed.wait_timeout(state, longest).unwrap().0;
        }
        Ok(if state.edges.is_empty() {
            None
        } else {
            Some(state.edges.remove(0))
        })
    }
}

impl Output for FakeLine {
    fn set(&mut self, lit: bool) -> Result<(), String> {
        if self.0.state().missing {
            return Err("gone".to_owned());
        }
        self.0.drive(&self.1, Some(lit));
        Ok(())
    }
}

impl Drop for FakeLine {
    fn drop(&mut self) {
        if self.1 != "button" {
            self.0.drive(&self.1, None);
        }
    }
}

fn line(name: &str) -> Option<PanelLine> {
    Some(PanelLine {
        chip: None,
        line: name.to_owned(),
        active_low: false,
        bias: None,
    })
}

fn panel(fake: &Arc<Fake>) -> (Box<dyn Panel>, Receiver<PanelInput>) {
    let settings = PanelSettings {
        backend: PanelBackend::Chardev,
        buttons: [line("button"), None, None],
        leds: [line("mic"), None, line("status")],
    };
    let (sender, heard) = channel();
    let sender = Mutex::new(sender);
    let sink: PanelSink = Arc::new(move |edge| {
        // The test may be over.
        let _ = sender.lock().unwrap().send(edge);
    });
    let board = Arc::new(FakeBoard(Arc::clone(fake)));
    (open(board, &settings, &sink).unwrap(), heard)
}

#[test]
fn a_light_follows_its_order_and_its_line_is_released_at_the_end() {
    let fake = Arc::new(Fake::default());
    let (mut panel, _) = panel(&fake);
    let ordered = Instant::now();
    panel.set_led(Led::Mic, Pattern::new(Color::Red, Shape::Steady));
    fake.await_driven("lit", |driven| driven == [("mic".to_owned(), Some(true))]);
    println!("shown {:?} after the order", ordered.elapsed());
    panel.set_led(Led::Mic, Pattern::new(Color::Green, Shape::Steady));
    // No line is configured for this one.
    panel.set_led(Led::Camera, Pattern::new(Color::Red, Shape::Steady));
    fake.await_driven("dark", |driven| {
        driven[1..] == [("mic".to_owned(), Some(false))]
    });
    drop(panel);
    assert_eq!(fake.state().driven[2..], [("mic".to_owned(), None)]);
}

#[test]
fn what_a_killed_program_left_is_made_safe_light_by_light() {
    let fake = Arc::new(Fake::default());
    let settings = PanelSettings {
        backend: PanelBackend::Chardev,
        buttons: [line("button"), None, None],
        leds: [line("mic"), line("camera"), line("status")],
    };
    let told = make_safe(&FakeBoard(Arc::clone(&fake)), &settings);
    assert_eq!(told[0], Ok("panel light Mic (mic) is safe".to_owned()));
    // Microphone and camera closed, nothing of a meeting; the buttons are nobody's business.
    let lit = [("mic", true), ("camera", true), ("status", false)];
    let lit = lit.map(|(name, lit)| (name.to_owned(), Some(lit)));
    assert_eq!(fake.state().driven, lit);
    fake.state().missing = true;
    let told = make_safe(&FakeBoard(fake), &settings);
    assert_eq!(told[2], Err("panel light Status: not there".to_owned()));
}

#[test]
fn a_blinking_light_blinks_by_itself() {
    let fake = Arc::new(Fake::default());
    let (mut panel, _) = panel(&fake);
    panel.set_led(Led::Status, Pattern::new(Color::White, Shape::Fast));
    fake.await_driven("three times", |driven| {
        let levels: Vec<_> = driven.iter().map(|(_, level)| *level).collect();
        levels.starts_with(&[Some(true), Some(false), Some(true), Some(false), Some(true)])
    });
    // A pattern begins anew where it is ordered.
    panel.set_led(Led::Status, Pattern::new(Color::Green, Shape::Steady));
    fake.await_driven("steady", |driven| driven.last().unwrap().1 == Some(true));
}

#[test]
fn edges_reach_the_room_with_the_kernel_time() {
    let fake = Arc::new(Fake::default());
    let (_panel, heard) = panel(&fake);
    let (down, up) = (Timestamp::from_millis(7), Timestamp::from_millis(90));
    fake.state().edges = vec![(true, down), (false, up)];
    fake.changed.notify_all();
    for (pressed, at) in [(true, down), (false, up)] {
        let edge = heard.recv_timeout(PATIENCE).unwrap();
        let button = Button::Mic;
        let expected = ButtonEdge {
            button,
            pressed,
            at,
        };
        assert_eq!(edge, PanelInput::Edge(expected));
    }
}

#[test]
fn a_panel_that_comes_late_works_then() {
    let fake = Arc::new(Fake::default());
    fake.state().missing = true;
    let (mut panel, heard) = panel(&fake);
    panel.set_led(Led::Mic, Pattern::new(Color::Red, Shape::Steady));
    fake.state().missing = false;
    fake.state().edges = vec![(true, Timestamp::from_millis(1))];
    fake.await_driven("it came", |driven| {
        driven == [("mic".to_owned(), Some(true))]
    });
    let heard = heard.recv_timeout(PATIENCE).unwrap();
    assert!(matches!(heard, PanelInput::Edge(edge) if edge.pressed));
}
