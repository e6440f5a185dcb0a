//! `huddled run` as a child process: its files, its control socket, its log.

use std::ffi::{OsStr, OsString};
use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::{PATIENCE, until};

static COUNT: AtomicU32 = AtomicU32::new(0);

/// What a box is started with: a folder of its own, a configuration, arguments, an environment.
pub(super) struct Setup {
    folder: PathBuf,
    name: String,
    pub(super) socket: PathBuf,
    pub(super) first_start: &'static str,
    /// The table `[signaling]`, without its head; empty where no meeting is configured.
    pub(super) signaling: String,
    pub(super) tone_hz: u32,
    pub(super) panel: &'static str,
    /// The page's address.
    pub(super) http: Option<SocketAddr>,
    /// Width, height and frame rate.
    pub(super) video: (u32, u32, u32),
    pub(super) log_level: &'static str,
    /// A program that starts the box in its own place, with its arguments.
    pub(super) wrapper: Vec<OsString>,
    pub(super) environment: Vec<(&'static str, String)>,
    /// The configuration lies where an installed box has it, below a root folder of the test's own.
    pub(super) layered: bool,
    /// Parts of the ERROR and panic lines that this test provokes.
    pub(super) expected_errors: Vec<&'static str>,
}

impl Setup {
    /// A box without a meeting, with small pictures to spare the machine.
    pub(super) fn new(name: &str) -> Self {
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let folder = std::env::temp_dir().join(format!("huddled-d{}-{number}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        Self {
            socket: folder.join("control.sock"),
            folder,
            name: name.to_owned(),
            first_start: "open",
            signaling: String::new(),
            tone_hz: 440,
            panel: "sim:virtual",
            http: None,
            video: (320, 180, 10),
            log_level: "debug",
            wrapper: Vec::new(),
            environment: Vec::new(),
            layered: false,
            expected_errors: Vec::new(),
        }
    }

    /// A box that joins this meeting without a login.
    pub(super) fn member(name: &str, url: &str, meeting: &str, user: &str) -> Self {
        let mut setup = Self::new(name);
        setup.signaling = format!("url = \"{url}\"\nmeeting = \"{meeting}\"\nuser = \"{user}\"\n");
        setup
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// The administrator's file.
    pub(super) fn config(&self) -> PathBuf {
        match self.layered {
            true => self.path("root/etc/huddled/config.toml"),
            false => self.path("config.toml"),
        }
    }

    /// Writes the configuration anew.
    pub(super) fn configure(&self) {
        let mut text = format!(
            "[box]\nname = \"{}\"\nfirst_start = \"{}\"\n",
            self.name, self.first_start
        );
        if !self.signaling.is_empty() {
            write!(text, "[signaling]\n{}", self.signaling).unwrap();
        }
        let (width, height, frame_rate) = self.video;
        write!(
            text,
            "[camera]\ndevice = \"sim:testcard\"\n\
             [microphone]\ndevice = \"sim:tone:{}\"\n\
             [speaker]\ndevice = \"sim:meter\"\n\
             [video]\nwidth = {width}\nheight = {height}\nframe_rate = {frame_rate}\nbitrate = 300000\n\
             [panel]\nbackend = \"{}\"\n\
             [control]\nsocket = \"{}\"\n",
            self.tone_hz,
            self.panel,
            self.socket.display()
        )
        .unwrap();
        if let Some(address) = self.http {
            writeln!(text, "http = \"{address}\"").unwrap();
        }
        let path = self.config();
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    fn command(&self, run: u32) -> Command {
        let mut words = self.wrapper.iter().cloned();
        let own = OsString::from(env!("CARGO_BIN_EXE_huddled"));
        let mut command = alone(&words.next().unwrap_or_else(|| own.clone()));
        if !self.wrapper.is_empty() {
            command.args(words).arg(own);
        }
        command
            .args(["run", "--allow-sim", "--log-level", self.log_level])
            .args(match self.layered {
                true => [OsString::from("--root"), self.path("root").into()],
                false => [OsString::from("--config"), self.config().into()],
            })
            .arg("--state-dir")
            .arg(self.path("state"))
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .stdout(Stdio::null())
            .stderr(File::create(self.path(&format!("log-{run}"))).unwrap());
        command
    }

    /// Starts the box and returns at once.
    pub(super) fn spawn(self) -> Daemon {
        self.configure();
        let child = self.command(0).spawn().unwrap();
        Daemon {
            setup: self,
            child: Some(child),
            runs: 1,
        }
    }

    /// Starts the box and waits until it answers.
    pub(super) fn start(self) -> Daemon {
        let mut daemon = self.spawn();
        daemon.until("an answer", |_| true);
        daemon
    }

    /// Runs to an end that comes by itself.
    pub(super) fn fail(self) -> (ExitStatus, String) {
        let mut daemon = self.spawn();
        let status = daemon.wait();
        (status, daemon.log())
    }
}

impl Drop for Setup {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// The daemon's program, without what this process's own surroundings would tell it.
pub(super) fn huddled() -> Command {
    alone(env!("CARGO_BIN_EXE_huddled").as_ref())
}

fn alone(program: &OsStr) -> Command {
    let mut command = Command::new(program);
    for name in [
        "NOTIFY_SOCKET",
        "WATCHDOG_USEC",
        "WATCHDOG_PID",
        "JOURNAL_STREAM",
        "STATE_DIRECTORY",
        "RUNTIME_DIRECTORY",
        "CREDENTIALS_DIRECTORY",
    ] {
        command.env_remove(name);
    }
    command.stdin(Stdio::null());
    command
}

/// A running box. At its end no ERROR may be in its log that the test did not expect.
pub(super) struct Daemon {
    pub(super) setup: Setup,
    child: Option<Child>,
    runs: u32,
}

impl Daemon {
    pub(super) fn pid(&self) -> u32 {
        self.child.as_ref().expect("it runs").id()
    }

    pub(super) fn signal(&self, signal: libc::c_int) {
        let pid = self.pid() as libc::pid_t;
        // SAFETY: kill(2) takes two numbers; the child has not been waited for, so the number is still its own.
        #[allow(unsafe_code)]
        let result = unsafe { libc::kill(pid, signal) };
        assert_eq!(result, 0);
    }

    /// Sends the signal and waits for the end.
    pub(super) fn stop(&mut self, signal: libc::c_int) -> (ExitStatus, Duration) {
        let begun = Instant::now();
        self.signal(signal);
        let status = self.wait();
        (status, begun.elapsed())
    }

    /// Waits for the end.
    pub(super) fn wait(&mut self) -> ExitStatus {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let child = self.child.as_mut().expect("it runs");
            if let Some(status) = child.try_wait().unwrap() {
                self.child = None;
                return status;
            }
            assert!(Instant::now() < deadline, "huddled does not end");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// As a power cut would: SIGKILL.
    pub(super) fn kill(&mut self) {
        self.stop(libc::SIGKILL);
    }

    /// Starts the box again after its end, with the configuration written anew, and returns at once.
    pub(super) fn spawn_again(&mut self) {
        self.setup.configure();
        self.spawn_as_it_is();
    }

    /// Starts the box again after its end, with the files that are there, and returns at once.
    pub(super) fn spawn_as_it_is(&mut self) {
        assert!(self.child.is_none());
        self.child = Some(self.setup.command(self.runs).spawn().unwrap());
        self.runs += 1;
    }

    /// Everything it has logged, in all its runs.
    pub(super) fn log(&self) -> String {
        (0..self.runs)
            .map(|run| {
                let bytes = fs::read(self.setup.path(&format!("log-{run}"))).unwrap_or_default();
                String::from_utf8_lossy(&bytes).into_owned()
            })
            .collect()
    }

    /// Waits until this is in the log.
    pub(super) fn until_logged(&self, text: &str) {
        until(text, || {
            self.log()
                .contains(text)
                .then_some(())
                .ok_or_else(|| "it is not logged".to_owned())
        });
    }

    /// The contents of the state file.
    pub(super) fn state(&self) -> String {
        fs::read_to_string(self.setup.path("state/state.toml")).unwrap_or_default()
    }

    /// Asks over the control socket: `ok`, or the whole `error`. `None` while nobody answers.
    pub(super) fn try_ask(&self, order: &str, args: &Value) -> Option<Result<Value, Value>> {
        let stream = UnixStream::connect(&self.setup.socket).ok()?;
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let line = json!({"id": 1, "do": order, "args": args}).to_string();
        (&stream).write_all(format!("{line}\n").as_bytes()).ok()?;
        let mut answer = String::new();
        BufReader::new(&stream).read_line(&mut answer).ok()?;
        let mut answer: Value = serde_json::from_str(&answer).ok()?;
        Some(match answer.get_mut("ok") {
            Some(value) => Ok(value.take()),
            None => Err(answer["error"].take()),
        })
    }

    pub(super) fn ask(&self, order: &str, args: Value) -> Result<Value, Value> {
        self.try_ask(order, &args).expect("the daemon answers")
    }

    pub(super) fn tell(&self, order: &str, args: Value) {
        if let Err(error) = self.ask(order, args) {
            panic!("{order}: {error}");
        }
    }

    pub(super) fn press(&self, button: &str) {
        self.tell("press", json!({"button": button}));
    }

    fn until_answer(&mut self, order: &str, what: &str, wished: impl Fn(&Value) -> bool) -> Value {
        until(what, || {
            let child = self.child.as_mut().expect("it runs");
            if let Some(status) = child.try_wait().unwrap() {
                panic!("waited for: {what}; huddled ended: {status}");
            }
            match self.try_ask(order, &json!({})) {
                Some(Ok(value)) if wished(&value) => Ok(value),
                last => Err(format!("{}: {order} is {last:?}", self.setup.name)),
            }
        })
    }

    /// Waits until the snapshot is as wished.
    pub(super) fn until(&mut self, what: &str, wished: impl Fn(&Value) -> bool) -> Value {
        self.until_answer("status", what, wished)
    }

    /// Waits until counters and levels are as wished.
    pub(super) fn until_health(&mut self, what: &str, wished: impl Fn(&Value) -> bool) -> Value {
        self.until_answer("health", what, wished)
    }

    pub(super) fn status(&self) -> Value {
        self.ask("status", json!({})).unwrap()
    }

    pub(super) fn health(&self) -> Value {
        self.ask("health", json!({})).unwrap()
    }

    /// Waits until microphone and camera have done what is wanted of them, and it is this.
    pub(super) fn until_closed(&mut self, muted: bool, camera_off: bool) -> Value {
        self.until(
            &format!("muted: {muted}, camera off: {camera_off}"),
            |snapshot| {
                snapshot["microphone"]["confirmed"] == muted
                    && snapshot["microphone"]["muted"] == muted
                    && snapshot["camera"]["confirmed"] == camera_off
                    && snapshot["camera"]["off"] == camera_off
            },
        )
    }

    /// Waits until so many periods of 10 ms have gone through the microphone: time that passed for the box.
    pub(super) fn let_pass(&mut self, periods: u64) -> Value {
        let from = self.health()["audio_out"]["periods"].as_u64().unwrap();
        self.until_health("time to pass", |health| {
            health["audio_out"]["periods"].as_u64().unwrap() >= from + periods
        })
    }

    /// Every snapshot and event from now on, as `watch` tells them.
    pub(super) fn watch(&self) -> impl Iterator<Item = Value> + use<> {
        let stream = UnixStream::connect(&self.setup.socket).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        (&stream)
            .write_all(b"{\"id\":1,\"do\":\"watch\"}\n")
            .unwrap();
        BufReader::new(stream)
            .lines()
            .map(|line| serde_json::from_str(&line.unwrap()).unwrap())
    }

    /// `huddlectl` with these arguments.
    pub(super) fn huddlectl(&self, arguments: &[&str]) -> Output {
        Command::new(env!("CARGO_BIN_EXE_huddlectl"))
            .arg("--socket")
            .arg(&self.setup.socket)
            .args(arguments)
            .stdin(Stdio::null())
            .output()
            .unwrap()
    }

    /// `huddlectl` with these arguments, begun.
    pub(super) fn begin(&self, arguments: &[&str]) -> Child {
        Command::new(env!("CARGO_BIN_EXE_huddlectl"))
            .arg("--socket")
            .arg(&self.setup.socket)
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap()
    }

    /// How many descriptors and threads it has.
    pub(super) fn resources(&self) -> (usize, usize) {
        let count = |what: &str| {
            let path = Path::new("/proc").join(self.pid().to_string()).join(what);
            fs::read_dir(path).unwrap().count()
        };
        (count("fd"), count("task"))
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
        let log = self.log();
        if std::thread::panicking() {
            let lines: Vec<_> = log.lines().collect();
            let tail = lines[lines.len().saturating_sub(60)..].join("\n");
            eprintln!("the end of {}'s log:\n{tail}", self.setup.name);
            return;
        }
        let unexpected = log.lines().find(|line| {
            let bad = line.split_whitespace().nth(1) == Some("ERROR") || line.contains("panicked");
            bad && !self
                .setup
                .expected_errors
                .iter()
                .any(|expected| line.contains(expected))
        });
        assert_eq!(unexpected, None, "in {}'s log", self.setup.name);
    }
}
