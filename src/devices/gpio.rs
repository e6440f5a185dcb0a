//! A panel of lines, be they GPIO lines or keys and LEDs of the kernel's: one thread for each button, one for all lights. A line that cannot be had is tried again, so
//! a panel that is plugged in late, or whose lines something else holds for a while, comes by itself; the room goes on
//! without it.

mod chardev;
mod kernel;
mod leds;
mod pattern;
mod pi;
mod probe;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

use super::{ButtonEdge, DeviceError, Panel, PanelInput, PanelSink};
use crate::clock;
use crate::config::{PanelBackend, PanelLine, PanelSettings};
use crate::room::{Button, Led, Pattern, Timestamp};
use pattern::play;

pub use chardev::GpioChipInfo;
pub(super) use chardev::list;
pub(super) use leds::list as list_leds;
pub(super) use probe::{await_press, blink, read_button};

/// Between two attempts to get a line.
const TRY_AGAIN: Duration = Duration::from_secs(2);
/// Longest wait for an edge before the end is looked for.
const LOOK_UP: Duration = Duration::from_millis(500);
/// What a GPIO line is that nobody drives.
const RELEASED: &str = "released; its wiring makes it safe";
/// Longest wait of the lights where nothing blinks.
const IDLE: Duration = Duration::from_secs(60);

/// Where the lines of lights come from.
trait LightBoard: Send + Sync {
    /// Takes a line to drive it. The error is a sentence that names the line.
    fn output(&self, line: &PanelLine, lit: bool) -> Result<Box<dyn Output>, String>;
    /// Makes what a killed program left there safe: lights it where it stays as it is told, else releases it, and the wiring
    /// decides. What it is then, for a sentence. The error is one, too, and names the line.
    fn make_safe(&self, line: &PanelLine, lit: bool) -> Result<&'static str, String>;
}

/// Where all lines come from.
trait Board: LightBoard {
    /// Takes a line to hear its edges. The error is a sentence that names the line.
    fn input(&self, line: &PanelLine) -> Result<Box<dyn Input>, String>;
}

/// A line of a button.
trait Input: Send {
    /// Whether it is active now, by the wiring that is configured.
    fn is_active(&mut self) -> Result<bool, String>;
    /// The next edge: whether it became active, and when by the kernel. `None` after `longest`.
    fn wait(&mut self, longest: Duration) -> Result<Option<(bool, Timestamp)>, String>;
    /// It stays where it is put: a switch, not a button.
    fn latches(&self) -> bool {
        false
    }
}

/// A line of a light.
trait Output: Send {
    /// Lights it, by the wiring that is configured.
    fn set(&mut self, lit: bool) -> Result<(), String>;
    /// The panel ends: lights it where it would stay as it is. By default it is released, and the wiring decides.
    fn rest(&mut self, _lit: bool) -> Result<(), String> {
        Ok(())
    }
}

/// Lines of any board.
pub(super) fn open_chardev(
    settings: &PanelSettings,
    sink: &PanelSink,
) -> Result<Box<dyn Panel>, DeviceError> {
    open(Arc::new(chardev::Chardev), settings, sink)
}

/// Pins of a Raspberry Pi.
pub(super) fn open_pi(
    settings: &PanelSettings,
    sink: &PanelSink,
) -> Result<Box<dyn Panel>, DeviceError> {
    open(Arc::new(pi::RaspberryPi), settings, sink)
}

/// Keys and LEDs that the kernel knows.
pub(super) fn open_kernel(
    settings: &PanelSettings,
    sink: &PanelSink,
) -> Result<Box<dyn Panel>, DeviceError> {
    open(Arc::new(kernel::Kernel::new()), settings, sink)
}

/// Lights of any board, alone.
pub(super) fn open_chardev_lights(settings: &PanelSettings) -> Result<Box<dyn Panel>, DeviceError> {
    let stopping = Arc::new(AtomicBool::new(false));
    light(Arc::new(chardev::Chardev), settings, stopping)
}

/// Lights on pins of a Raspberry Pi, alone.
pub(super) fn open_pi_lights(settings: &PanelSettings) -> Result<Box<dyn Panel>, DeviceError> {
    let stopping = Arc::new(AtomicBool::new(false));
    light(Arc::new(pi::RaspberryPi), settings, stopping)
}

/// Lights of the kernel's LED class; `root` is the folder that `/sys` is looked for in.
pub(super) fn open_kernel_lights(
    settings: &PanelSettings,
    root: &Path,
) -> Result<Box<dyn Panel>, DeviceError> {
    let stopping = Arc::new(AtomicBool::new(false));
    light(Arc::new(leds::LedClass::below(root)), settings, stopping)
}

/// What a light shows when nobody says what leaves the box: microphone and camera closed, nothing of a meeting.
fn lit_when_safe(led: Led) -> bool {
    match led {
        Led::Mic | Led::Camera => true,
        Led::Status => false,
    }
}

/// Puts every light that is configured to its safe state; what became of each, as a sentence. `root` as for
/// [`open_kernel_lights`].
pub(super) fn set_safe(settings: &PanelSettings, root: &Path) -> Vec<Result<String, String>> {
    match settings.backend {
        PanelBackend::Kernel => make_safe(&leds::LedClass::below(root), settings),
        PanelBackend::Chardev => make_safe(&chardev::Chardev, settings),
        PanelBackend::Rppal => make_safe(&pi::RaspberryPi, settings),
        PanelBackend::None | PanelBackend::SimVirtual => Vec::new(),
    }
}

fn make_safe(board: &dyn LightBoard, settings: &PanelSettings) -> Vec<Result<String, String>> {
    [Led::Mic, Led::Camera, Led::Status]
        .into_iter()
        .zip(&settings.leds)
        .filter_map(|(led, line)| Some((led, line.as_ref()?)))
        .map(|(led, line)| {
            board
                .make_safe(line, lit_when_safe(led))
                .map(|now| format!("panel light {led:?} ({}) is {now}", line.line))
                .map_err(|problem| format!("panel light {led:?}: {problem}"))
        })
        .collect()
}

fn no_thread(error: std::io::Error) -> DeviceError {
    DeviceError::Gone {
        device: "panel".to_owned(),
        attempt: "starting its threads",
        reason: error.to_string(),
    }
}

fn open(
    board: Arc<dyn Board>,
    settings: &PanelSettings,
    sink: &PanelSink,
) -> Result<Box<dyn Panel>, DeviceError> {
    let stopping = Arc::new(AtomicBool::new(false));
    for (button, line) in [Button::Mic, Button::Camera, Button::Share]
        .into_iter()
        .zip(&settings.buttons)
    {
        let Some(line) = line.clone() else { continue };
        let (board, sink) = (Arc::clone(&board), Arc::clone(sink));
        let stopping = Arc::clone(&stopping);
        std::thread::Builder::new()
            .name(format!("panel-{}", button.as_str()))
            .spawn(move || {
                let mut told = None;
                while !stopping.load(Ordering::Relaxed) {
                    let ended = hear(&*board, button, &line, &sink, &stopping, &mut told);
                    if let Err(problem) = ended {
                        tell(
                            &mut told,
                            log::Level::Error,
                            "button",
                            button.as_str(),
                            problem,
                        );
                        std::thread::sleep(TRY_AGAIN);
                    }
                }
            })
            .map_err(no_thread)?;
    }
    light(board, settings, stopping)
}

/// Starts the lights' thread.
fn light(
    board: Arc<dyn LightBoard>,
    settings: &PanelSettings,
    stopping: Arc<AtomicBool>,
) -> Result<Box<dyn Panel>, DeviceError> {
    let (orders, received) = channel();
    let lines = settings.leds.clone();
    let thread = std::thread::Builder::new()
        .name("panel-lights".to_owned())
        .spawn(move || Lamps::new(board, lines).run(&received))
        .map_err(no_thread)?;
    Ok(Box::new(GpioPanel {
        orders: Some(orders),
        thread: Some(thread),
        stopping,
    }))
}

/// Says what is wrong with a line, once for each reason.
fn tell(told: &mut Option<String>, level: log::Level, what: &str, name: &str, problem: String) {
    if told.as_ref() != Some(&problem) {
        log::log!(level, "panel {what} {name}: {problem}");
        *told = Some(problem);
    }
}

/// Hears one button until the line fails or the end.
fn hear(
    board: &dyn Board,
    button: Button,
    line: &PanelLine,
    sink: &PanelSink,
    stopping: &AtomicBool,
    told: &mut Option<String>,
) -> Result<(), String> {
    let mut input = board.input(line)?;
    if told.take().is_some() {
        log::info!("panel button {}: works again", button.as_str());
    }
    let latches = input.latches();
    let is_active = input.is_active()?;
    if latches {
        sink(PanelInput::Switch {
            button,
            closed: is_active,
            moved: false,
        });
    } else if is_active {
        // A press is an edge: what is held since before the start is none.
        log::warn!(
            "panel button {}: is pressed at the start; if nobody does, change active_low or bias",
            button.as_str()
        );
    }
    while !stopping.load(Ordering::Relaxed) {
        if let Some((pressed, at)) = input.wait(LOOK_UP)? {
            sink(if latches {
                PanelInput::Switch {
                    button,
                    closed: pressed,
                    moved: true,
                }
            } else {
                PanelInput::Edge(ButtonEdge {
                    button,
                    pressed,
                    at,
                })
            });
        }
    }
    Ok(())
}

/// What the lights' thread works on.
struct Lamps {
    board: Arc<dyn LightBoard>,
    lamps: [Lamp; 3],
}

struct Lamp {
    led: Led,
    line: Option<PanelLine>,
    output: Option<Box<dyn Output>>,
    /// What it shows, since when.
    pattern: Option<(Pattern, Timestamp)>,
    /// As the line was driven last.
    lit: Option<bool>,
    try_at: Timestamp,
    told: Option<String>,
}

impl Lamps {
    fn new(board: Arc<dyn LightBoard>, lines: [Option<PanelLine>; 3]) -> Self {
        let mut lines = lines.into_iter();
        let lamps = [Led::Mic, Led::Camera, Led::Status].map(|led| Lamp {
            led,
            line: lines.next().flatten(),
            output: None,
            pattern: None,
            lit: None,
            try_at: Timestamp::default(),
            told: None,
        });
        Self { board, lamps }
    }

    /// Until the panel is dropped; then the lines are released.
    fn run(&mut self, orders: &Receiver<(Led, Pattern)>) {
        let mut wait = IDLE;
        loop {
            match orders.recv_timeout(wait) {
                Ok((led, pattern)) => {
                    let now = clock::monotonic();
                    for lamp in self.lamps.iter_mut().filter(|lamp| lamp.led == led) {
                        lamp.pattern = Some((pattern, now));
                    }
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => {
                    self.rest();
                    return;
                }
            }
            let now = clock::monotonic();
            wait = self
                .lamps
                .iter_mut()
                .filter_map(|lamp| lamp.show(&*self.board, now))
                .min()
                .unwrap_or(IDLE);
        }
    }
}

impl Lamps {
    /// What shows without a program: closed, and nothing of a meeting.
    fn rest(&mut self) {
        for lamp in &mut self.lamps {
            if let Some(output) = &mut lamp.output
                && let Err(problem) = output.rest(lit_when_safe(lamp.led))
            {
                log::debug!("panel light {:?}: {problem}", lamp.led);
            }
        }
    }
}

impl Lamp {
    /// Drives the line as the pattern is now; how long until it changes.
    fn show(&mut self, board: &dyn LightBoard, now: Timestamp) -> Option<Duration> {
        let (line, (pattern, since)) = (self.line.as_ref()?, self.pattern?);
        let (lit, change) = play(self.led, pattern, now.since(since));
        let driven = match &mut self.output {
            Some(output) if self.lit != Some(lit) => output.set(lit),
            Some(_) => return change,
            None if now < self.try_at => return Some(self.try_at.since(now)),
            None => board.output(line, lit).map(|output| {
                self.output = Some(output);
                if self.told.take().is_some() {
                    log::info!("panel light {:?}: works again", self.led);
                }
            }),
        };
        match driven {
            Ok(()) => {
                self.lit = Some(lit);
                change
            }
            Err(problem) => {
                self.output = None;
                self.lit = None;
                self.try_at = now + TRY_AGAIN;
                let name = format!("{:?}", self.led);
                tell(&mut self.told, log::Level::Warn, "light", &name, problem);
                Some(TRY_AGAIN)
            }
        }
    }
}

/// See the module.
struct GpioPanel {
    /// `None` only while it is being dropped.
    orders: Option<Sender<(Led, Pattern)>>,
    thread: Option<JoinHandle<()>>,
    stopping: Arc<AtomicBool>,
}

impl Panel for GpioPanel {
    fn set_led(&mut self, led: Led, pattern: Pattern) {
        if let Some(orders) = &self.orders
            && orders.send((led, pattern)).is_err()
        {
            log::debug!("the lights' thread has ended; {led:?} stays as it is");
        }
    }
}

impl Drop for GpioPanel {
    fn drop(&mut self) {
        self.stopping.store(true, Ordering::Relaxed);
        self.orders = None;
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            log::error!("the lights' thread had panicked");
        }
    }
}

#[cfg(test)]
mod tests;
