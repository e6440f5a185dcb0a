//! How long after a press of the mic's button its light shows it: the whole program with simulated devices, 1280x720 at 30 frames/s.
//!
//! From before the press is written to the control socket until the watcher has read the snapshot that follows the
//! light's change, so the socket's two ways count as well. Run with `cargo bench --bench light`.
#![allow(clippy::print_stdout, missing_docs)]

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

const PRESSES: usize = 200;
/// What takes longer is no figure.
const PATIENCE: Duration = Duration::from_secs(30);
/// Between two presses: nobody presses faster.
const PAUSE: Duration = Duration::from_millis(50);
/// Longer by so much from press to press. A light changes with a period of sound, 10 ms; presses are to fall anywhere in one.
const STEP: Duration = Duration::from_micros(500);

const PRESS: &str = "{\"id\":1,\"do\":\"press\",\"args\":{\"button\":\"mic\"}}\n";
const CONFIGURATION: &str = "[box]\nfirst_start = 'open'\n\
    [camera]\ndevice = 'sim:testcard'\n\
    [microphone]\ndevice = 'sim:tone'\n\
    [speaker]\ndevice = 'sim:meter'\n\
    [panel]\nbackend = 'sim:virtual'\n";

fn main() {
    let daemon = Daemon::start();
    let mut orders = daemon.connect();
    let mut watcher = daemon.connect();
    ask(&mut watcher, "{\"id\":1,\"do\":\"watch\"}\n");
    let mut seen = BufReader::new(watcher).lines();
    let mut until_light = |colour: &str| {
        let light = |line: &Value| {
            let light = line["snapshot"]["leds"]["mic"].as_str();
            light.is_some_and(|light| light.starts_with(colour))
        };
        seen.by_ref()
            .map(|line| line.expect("the box answers in time"))
            .map(|line| serde_json::from_str(&line).expect("JSON"))
            .find(light)
            .expect("the light changes");
    };
    // Not muted, not in a meeting.
    until_light("green");
    let mut times = [Vec::new(), Vec::new()];
    for number in 0..PRESSES {
        thread::sleep(PAUSE + STEP * (number as u32 * 7 % 20));
        let pressed = Instant::now();
        ask(&mut orders, PRESS);
        until_light(["red", "green"][number % 2]);
        times[number % 2].push(pressed.elapsed());
    }
    println!("{PRESSES} presses, ms from the press to the light\n");
    println!("{:<12} {:>7} {:>7} {:>7}", "", "p50", "p99", "max");
    for (what, times) in ["closing", "opening"].iter().zip(&mut times) {
        times.sort_unstable();
        let at = |share: f64| times[((times.len() - 1) as f64 * share).round() as usize];
        let [half, most, all] = [0.5, 0.99, 1.0].map(|share| at(share).as_secs_f64() * 1000.0);
        println!("{what:<12} {half:>7.2} {most:>7.2} {all:>7.2}");
    }
}

/// The answer is not waited for: of a press it says no more than the watcher, and 200 of them fit into the socket.
fn ask(stream: &mut UnixStream, order: &str) {
    stream.write_all(order.as_bytes()).expect("the box listens");
}

/// The program, in a folder of its own. Dropping it ends it.
struct Daemon {
    folder: PathBuf,
    child: Child,
}

impl Daemon {
    fn start() -> Self {
        let folder = std::env::temp_dir().join(format!("huddled-light-{}", std::process::id()));
        fs::create_dir_all(&folder).expect("a folder");
        let socket = socket(&folder);
        let control = format!("[control]\nsocket = '{}'\n", socket.display());
        let file = folder.join("config.toml");
        fs::write(&file, format!("{CONFIGURATION}{control}")).expect("a configuration");
        let child = Command::new(env!("CARGO_BIN_EXE_huddled"))
            .args(["run", "--allow-sim", "--log-level", "warn", "--config"])
            .arg(file)
            .arg("--state-dir")
            .arg(folder.join("state"))
            .stdin(Stdio::null())
            .spawn()
            .expect("the program");
        let mut daemon = Self { folder, child };
        let limit = Instant::now() + PATIENCE;
        while UnixStream::connect(&socket).is_err() {
            let ended = daemon.child.try_wait().expect("its state");
            assert!(ended.is_none() && Instant::now() < limit, "it answers");
            thread::sleep(Duration::from_millis(10));
        }
        daemon
    }

    fn connect(&self) -> UnixStream {
        let stream = UnixStream::connect(socket(&self.folder)).expect("the box answers");
        stream
            .set_read_timeout(Some(PATIENCE))
            .expect("a time limit");
        stream
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = fs::remove_dir_all(&self.folder);
    }
}

fn socket(folder: &Path) -> PathBuf {
    folder.join("control.sock")
}
