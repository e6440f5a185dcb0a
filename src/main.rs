//! The daemon's command line.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use huddled::app::{self, RunOptions};
use huddled::config::Settings;
use huddled::host;

/// Read when `--config` is not given; it may be absent.
const DEFAULT_CONFIG: &str = "/etc/huddled/config.toml";
/// Where the package puts the guest page.
#[cfg(feature = "hub")]
const GUEST_PAGE: &str = "/usr/share/huddled/guest";
/// No valid configuration exists (sysexits.h, EX_CONFIG); systemd does not restart on it.
const EXIT_CONFIG: u8 = 78;

/// Puts a meeting room into WebRTC mesh meetings and keeps it there.
#[derive(Debug, Parser)]
#[command(version, max_term_width = 100)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the box until SIGTERM
    Run {
        /// Configuration file [default: /etc/huddled/config.toml, if there is one]
        #[arg(long, value_name = "FILE")]
        config: Option<PathBuf>,
        /// Where mute and camera state are kept
        #[arg(long, value_name = "DIR")]
        state_dir: Option<PathBuf>,
        /// Permit simulated devices
        #[arg(long)]
        allow_sim: bool,
        /// What is logged: error, warn, info, debug or trace
        #[arg(long, value_name = "LEVEL", default_value = "info")]
        log_level: log::LevelFilter,
    },
    /// Meet a box of simulated devices: starts a hub and a box, and prints the address to open
    #[cfg(feature = "hub")]
    Demo {
        /// Where the hub listens; other than loopback it speaks TLS [default: 127.0.0.1:8440, or a free port]
        #[arg(long, value_name = "ADDRESS:PORT")]
        listen: Option<SocketAddr>,
        /// Where the box's own page listens [default: 127.0.0.1:8441, or a free port]
        #[arg(long, value_name = "ADDRESS:PORT")]
        http: Option<SocketAddr>,
        /// The folder of the guest page, made by `make guest`
        #[arg(long, value_name = "DIR", default_value = GUEST_PAGE)]
        pages: PathBuf,
        /// What the box is called
        #[arg(long)]
        name: Option<String>,
        /// What is logged: error, warn, info, debug or trace
        #[arg(long, value_name = "LEVEL", default_value = "info")]
        log_level: log::LevelFilter,
    },
    /// Run the embedded server, for rooms without the platform, until SIGTERM
    #[cfg(feature = "hub")]
    Hub {
        /// Configuration file [default: /etc/huddled/config.toml, if there is one]
        #[arg(long, value_name = "FILE")]
        config: Option<PathBuf>,
        /// Where the hub's key and certificate are kept
        #[arg(long, value_name = "DIR")]
        state_dir: Option<PathBuf>,
        /// Where to listen, instead of [hub] listen
        #[arg(long, value_name = "ADDRESS:PORT")]
        listen: Option<SocketAddr>,
        /// The folder of the guest page, instead of [hub] pages
        #[arg(long, value_name = "DIR")]
        pages: Option<PathBuf>,
        /// Only print the links of every meeting
        #[arg(long, conflicts_with = "token")]
        links: bool,
        /// Only print the token for a box with this user id, for its [signaling] token_file
        #[arg(long, value_name = "USER")]
        token: Option<String>,
        /// The meeting of --token [default: the first]
        #[arg(long, value_name = "ID", requires = "token")]
        meeting: Option<String>,
        /// What is logged: error, warn, info, debug or trace
        #[arg(long, value_name = "LEVEL", default_value = "info")]
        log_level: log::LevelFilter,
    },
    /// Check or show configuration files
    #[command(subcommand)]
    Config(ConfigCommand),
}

#[derive(Debug, Subcommand)]
enum ConfigCommand {
    /// Say whether files are valid, and what is wrong with them
    Check {
        /// Configuration files
        #[arg(required = true, value_name = "FILE")]
        files: Vec<PathBuf>,
    },
    /// Print the effective settings
    Show {
        /// Configuration file
        #[arg(long, value_name = "FILE", default_value = DEFAULT_CONFIG)]
        config: PathBuf,
    },
}

fn main() -> ExitCode {
    match Arguments::parse().command {
        Command::Run {
            config,
            state_dir,
            allow_sim,
            log_level,
        } => {
            host::install(log_level);
            run(config, state_dir, allow_sim)
        }
        #[cfg(feature = "hub")]
        Command::Demo {
            listen,
            http,
            pages,
            name,
            log_level,
        } => {
            host::install(log_level);
            ended(app::demo(app::DemoOptions {
                listen,
                http,
                pages,
                name,
            }))
        }
        #[cfg(feature = "hub")]
        Command::Hub {
            config,
            state_dir,
            listen,
            pages,
            links,
            token,
            meeting,
            log_level,
        } => {
            host::install(log_level);
            let mut settings = match effective(config) {
                Ok((settings, _)) => settings,
                Err(code) => return code,
            };
            settings.hub.listen = listen.or(settings.hub.listen);
            if let Some(pages) = pages {
                settings.hub.pages = pages;
            }
            let task = match token {
                Some(user) => app::HubTask::Token { user, meeting },
                None if links => app::HubTask::Links,
                None => app::HubTask::Serve,
            };
            ended(app::hub(app::HubRun {
                settings,
                state_dir,
                task,
            }))
        }
        Command::Config(ConfigCommand::Check { files }) => check(&files),
        Command::Config(ConfigCommand::Show { config }) => show(&config),
    }
}

/// The settings that hold, and the file they came from; the exit code where there are none.
fn effective(config: Option<PathBuf>) -> Result<(Settings, Option<PathBuf>), ExitCode> {
    let (settings, config) = match config {
        Some(path) => (app::read_settings(&path), Some(path)),
        None if matches!(Path::new(DEFAULT_CONFIG).try_exists(), Ok(false)) => {
            log::info!("there is no {DEFAULT_CONFIG}; going on with the defaults");
            (Ok(Settings::default()), None)
        }
        // A file that may not be read is not an absent one.
        None => {
            let path = PathBuf::from(DEFAULT_CONFIG);
            (app::read_settings(&path), Some(path))
        }
    };
    match settings {
        Ok(settings) => Ok((settings, config)),
        Err(message) => {
            log::error!("{message}");
            Err(ExitCode::from(EXIT_CONFIG))
        }
    }
}

fn run(config: Option<PathBuf>, state_dir: Option<PathBuf>, allow_sim: bool) -> ExitCode {
    let (settings, config) = match effective(config) {
        Ok(effective) => effective,
        Err(code) => return code,
    };
    let simulated = settings.simulated();
    if !simulated.is_empty() {
        let keys = simulated.join(", ");
        if !allow_sim {
            log::error!(
                "{keys}: simulated devices need --allow-sim; set a real device or add the flag"
            );
            return ExitCode::from(EXIT_CONFIG);
        }
        log::warn!("running with simulated devices: {keys}");
    }
    ended(app::run(RunOptions {
        settings,
        config,
        state_dir,
        demo: None,
    }))
}

/// What became of a long run.
fn ended(result: anyhow::Result<()>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            log::error!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

#[allow(clippy::print_stdout, clippy::print_stderr)] // a command's answer
fn check(files: &[PathBuf]) -> ExitCode {
    let mut code = ExitCode::SUCCESS;
    for file in files {
        match app::read_settings(file) {
            Ok(_) => println!("{}: valid", file.display()),
            Err(message) => {
                eprintln!("{message}");
                code = ExitCode::from(EXIT_CONFIG);
            }
        }
    }
    code
}

#[allow(clippy::print_stdout, clippy::print_stderr)] // a command's answer
fn show(config: &Path) -> ExitCode {
    match app::read_settings(config) {
        Ok(settings) => {
            print!("{}", settings.show());
            ExitCode::SUCCESS
        }
        Err(message) => {
            eprintln!("{message}");
            ExitCode::from(EXIT_CONFIG)
        }
    }
}
