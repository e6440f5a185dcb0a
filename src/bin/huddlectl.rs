//! The control client: gives orders to a running huddled over its Unix socket and shows what it says.

use std::io::{BufRead, BufReader, ErrorKind, IsTerminal, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use clap::{CommandFactory, Parser, Subcommand, ValueEnum};
use huddled::control::{
    ErrorCode, EventLine, Reply, ReplyError, Request, Snapshot, Wish, default_socket,
    describe_event, describe_status, summarize, visible,
};
use huddled::manual;
use huddled::room::{Button, Command};
use serde_json::{Value, json};

/// How long the daemon may take to answer.
const ANSWER: Duration = Duration::from_secs(15);
/// How long a look for a remote configuration may take: two files, each within its limit.
const FETCH: Duration = Duration::from_secs(75);
/// Longest line of the daemon, bytes: a picture as base64, with room to spare.
const LINE: u64 = 64 * 1024 * 1024;

/// Something went wrong.
const FAULT: u8 = 1;
/// The command line, or the arguments of the order, make no sense.
const USAGE: u8 = 2;
/// The box said no.
const DENIED: u8 = 3;

/// Gives orders to the huddled of this machine and shows what it does.
///
/// Only a press in the room opens the microphone or the camera: there is no order for it.
#[derive(Parser)]
#[command(name = "huddlectl", version)]
struct Arguments {
    /// The daemon's control socket [default: $RUNTIME_DIRECTORY/control.sock, else /run/huddled/control.sock]
    #[arg(long, global = true, value_name = "PATH")]
    socket: Option<PathBuf>,
    /// Print the daemon's answer as JSON
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    order: Order,
}

#[derive(Subcommand)]
enum Order {
    /// Show the box's state
    Status,
    /// Show what happens until interrupted
    Watch,
    /// Close the microphone
    Mute,
    /// Close the camera
    Camera {
        /// There is no `on`
        #[arg(value_enum)]
        to: CameraTo,
    },
    /// Start or stop the screen share
    Share {
        /// Start or stop
        #[arg(value_enum)]
        to: ShareTo,
    },
    /// Press a button of a simulated panel
    Press {
        /// Which button
        #[arg(value_enum)]
        button: PanelButton,
    },
    /// Join the configured meeting
    Join,
    /// Leave the meeting and stay away until `join`
    Leave,
    /// Fetch the newest picture of a member as PNG, to standard output unless -o is given
    Picture {
        /// The member's user id; may be left out while there is only one
        user: Option<String>,
        /// That of its shared screen instead of its camera
        #[arg(long)]
        screen: bool,
        /// Where to write it
        #[arg(short, long, value_name = "FILE")]
        output: Option<PathBuf>,
    },
    /// Read the configuration again
    Reload,
    /// Look for a remote configuration now, and say what came of it
    Fetch,
    /// Let the box's lights show which one it is
    Identify,
    /// Show counters and levels of the pipelines
    Health,
    /// Write manual pages and shell completions of this program; for packages
    #[command(hide = true)]
    Generate {
        /// Where to
        #[arg(value_name = "DIR")]
        directory: PathBuf,
    },
}

#[derive(Clone, Copy, ValueEnum)]
enum CameraTo {
    Off,
}

#[derive(Clone, Copy, ValueEnum)]
enum ShareTo {
    On,
    Off,
}

#[derive(Clone, Copy, ValueEnum)]
enum PanelButton {
    Mic,
    Camera,
    Share,
}

impl Order {
    /// `None` for what is no order to the daemon.
    fn wish(&self) -> Option<Wish> {
        Some(Wish::Command(match self {
            Self::Status => return Some(Wish::Status),
            Self::Watch => return Some(Wish::Watch),
            Self::Reload => return Some(Wish::Reload),
            Self::Fetch => return Some(Wish::Fetch),
            Self::Health => return Some(Wish::Health),
            Self::Picture { user, screen, .. } => {
                return Some(Wish::Picture {
                    user: user.clone(),
                    screen: *screen,
                });
            }
            Self::Generate { .. } => return None,
            Self::Mute => Command::Mute,
            Self::Camera { to: CameraTo::Off } => Command::CameraOff,
            Self::Share { to: ShareTo::On } => Command::ShareOn,
            Self::Share { to: ShareTo::Off } => Command::ShareOff,
            Self::Press { button } => Command::Press(match button {
                PanelButton::Mic => Button::Mic,
                PanelButton::Camera => Button::Camera,
                PanelButton::Share => Button::Share,
            }),
            Self::Join => Command::Join,
            Self::Leave => Command::Leave,
            Self::Identify => Command::Identify,
        }))
    }
}

// Why the program ends without success.
enum Failure {
    // Whoever reads our output has seen enough.
    NobodyReads,
    Told { exit: u8, message: String },
}

impl Failure {
    fn told(exit: u8, message: impl Into<String>) -> Self {
        Self::Told {
            exit,
            message: message.into(),
        }
    }
}

impl From<ReplyError> for Failure {
    fn from(error: ReplyError) -> Self {
        let exit = match error.code {
            ErrorCode::Denied => DENIED,
            ErrorCode::BadArguments => USAGE,
            ErrorCode::BadRequest
            | ErrorCode::UnknownCommand
            | ErrorCode::NoPicture
            | ErrorCode::Rejected
            | ErrorCode::Unavailable
            | ErrorCode::Busy
            | ErrorCode::TooSlow
            | ErrorCode::Unknown => FAULT,
        };
        Self::told(exit, error.message)
    }
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match run(&arguments) {
        Ok(()) | Err(Failure::NobodyReads) => ExitCode::SUCCESS,
        Err(Failure::Told { exit, message }) => {
            // If nobody can read this either, the exit code still tells.
            let _ = writeln!(std::io::stderr(), "huddlectl: {}", visible(&message));
            ExitCode::from(exit)
        }
    }
}

fn run(arguments: &Arguments) -> Result<(), Failure> {
    if let Order::Generate { directory } = &arguments.order {
        return manual::write(&Arguments::command(), directory).map_err(|error| {
            let directory = directory.display();
            Failure::told(FAULT, format!("{directory}: cannot be written: {error}"))
        });
    }
    if let Order::Picture { output: None, .. } = arguments.order
        && !arguments.json
        && std::io::stdout().is_terminal()
    {
        return Err(Failure::told(
            USAGE,
            "a picture is no text for a terminal; give -o FILE, or redirect the output",
        ));
    }
    let Some(wish) = arguments.order.wish() else {
        return Ok(());
    };
    let path = arguments
        .socket
        .clone()
        .unwrap_or_else(|| default_socket(std::env::var_os("RUNTIME_DIRECTORY").as_deref()));
    let mut daemon = Daemon::connect(&path)?;
    if wish == Wish::Fetch {
        daemon.wait_for(Some(FETCH))?;
    }
    let value = match daemon.ask(wish)? {
        Ok(value) => value,
        Err(error) => {
            if arguments.json {
                print_json(&json!({ "error": error }))?;
            }
            return Err(error.into());
        }
    };
    match &arguments.order {
        Order::Watch => watch(&mut daemon, arguments.json),
        Order::Picture { output, .. } => {
            if let Some(path) = output {
                std::fs::write(path, png(&value)?).map_err(|error| {
                    Failure::told(FAULT, format!("cannot write {}: {error}", path.display()))
                })
            } else if arguments.json {
                print_json(&value)
            } else {
                print(&png(&value)?)
            }
        }
        _ if arguments.json => print_json(&value),
        Order::Fetch => {
            let outcome = value.get("outcome").and_then(Value::as_str);
            print(format!("{}\n", visible(outcome.ok_or_else(not_understood)?)).as_bytes())
        }
        Order::Status => print(describe_status(&snapshot(&value)?).as_bytes()),
        // It has no schema to be told in words.
        Order::Health => print(format!("{value:#}\n").as_bytes()),
        Order::Mute
        | Order::Camera { .. }
        | Order::Share { .. }
        | Order::Press { .. }
        | Order::Join
        | Order::Leave
        | Order::Reload
        | Order::Generate { .. }
        | Order::Identify => Ok(()),
    }
}

fn watch(daemon: &mut Daemon, json: bool) -> Result<(), Failure> {
    daemon.wait_for(None)?;
    let mut shown = String::new();
    loop {
        let line = daemon.line()?;
        if json {
            print(&line)?;
        }
        if let Some(Reply {
            result: Err(error), ..
        }) = Reply::parse(&line)
        {
            return Err(error.into());
        }
        if json {
            continue;
        }
        let value: Value = serde_json::from_slice(&line).map_err(|_| not_understood())?;
        if let Some(value) = value.get("snapshot") {
            let text = summarize(&snapshot(value)?);
            // Most snapshots differ in what is not told here.
            if text != shown {
                print(format!("{text}\n").as_bytes())?;
                shown = text;
            }
        } else if let Ok(event) = serde_json::from_value::<EventLine>(value) {
            print(format!("{}\n", describe_event(&event)).as_bytes())?;
        }
    }
}

fn snapshot(value: &Value) -> Result<Snapshot, Failure> {
    serde_json::from_value(value.clone()).map_err(|_| not_understood())
}

fn png(value: &Value) -> Result<Vec<u8>, Failure> {
    value
        .get("png")
        .and_then(Value::as_str)
        .and_then(|text| BASE64.decode(text).ok())
        .ok_or_else(not_understood)
}

fn not_understood() -> Failure {
    Failure::told(
        FAULT,
        "the daemon's answer is not understood; are huddlectl and huddled of the same version?",
    )
}

fn print_json(value: &Value) -> Result<(), Failure> {
    print(format!("{value}\n").as_bytes())
}

fn print(bytes: &[u8]) -> Result<(), Failure> {
    let mut output = std::io::stdout().lock();
    output
        .write_all(bytes)
        .and_then(|()| output.flush())
        .map_err(|error| match error.kind() {
            ErrorKind::BrokenPipe => Failure::NobodyReads,
            _ => Failure::told(FAULT, format!("cannot write the output: {error}")),
        })
}

struct Daemon {
    stream: BufReader<UnixStream>,
}

impl Daemon {
    fn connect(path: &Path) -> Result<Self, Failure> {
        let stream = UnixStream::connect(path).map_err(|error| {
            let path = path.display();
            Failure::told(
                FAULT,
                match error.kind() {
                    ErrorKind::NotFound | ErrorKind::ConnectionRefused => format!(
                        "huddled is not running: nothing answers on {path}; start it, or name its socket with --socket"
                    ),
                    ErrorKind::PermissionDenied => format!(
                        "you may not use {path}; become a member of the group huddled"
                    ),
                    _ => format!("cannot connect to {path}: {error}"),
                },
            )
        })?;
        stream
            .set_read_timeout(Some(ANSWER))
            .and_then(|()| stream.set_write_timeout(Some(ANSWER)))
            .map_err(|error| Failure::told(FAULT, format!("cannot set a time limit: {error}")))?;
        Ok(Self {
            stream: BufReader::new(stream),
        })
    }

    // Sends the wish and waits for its answer.
    fn ask(&mut self, wish: Wish) -> Result<Result<Value, ReplyError>, Failure> {
        let request = Request { id: 1.into(), wish };
        // A daemon that refuses the connection has closed it already; its reason can still be read.
        let sent = self
            .stream
            .get_mut()
            .write_all(request.to_line().as_bytes());
        let line = match (sent, self.line()) {
            (_, Ok(line)) => line,
            (Ok(()), Err(failure)) => return Err(failure),
            (Err(error), Err(_)) => {
                return Err(Failure::told(
                    FAULT,
                    format!("cannot send to the daemon: {error}"),
                ));
            }
        };
        Ok(Reply::parse(&line).ok_or_else(not_understood)?.result)
    }

    fn line(&mut self) -> Result<Vec<u8>, Failure> {
        let mut line = Vec::new();
        let read = (&mut self.stream).take(LINE).read_until(b'\n', &mut line);
        match read {
            Ok(_) if line.ends_with(b"\n") => Ok(line),
            Ok(_) => Err(Failure::told(FAULT, "the daemon closed the connection")),
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                Err(Failure::told(
                    FAULT,
                    "the daemon does not answer; see its journal",
                ))
            }
            Err(error) => Err(Failure::told(
                FAULT,
                format!("cannot read from the daemon: {error}"),
            )),
        }
    }

    fn wait_for(&mut self, limit: Option<Duration>) -> Result<(), Failure> {
        self.stream
            .get_ref()
            .set_read_timeout(limit)
            .map_err(|error| Failure::told(FAULT, format!("cannot set the time limit: {error}")))
    }
}
