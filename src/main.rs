//! The daemon's command line.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use huddled::app::{self, RunOptions};
use huddled::config::Settings;
use huddled::host;

/// Read when `--config` is not given; it may be absent.
const DEFAULT_CONFIG: &str = "/etc/huddled/config.toml";
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
    /// List cameras, microphones, speakers and GPIO chips with the names to put into the configuration
    Devices {
        /// Print one JSON document
        #[arg(long)]
        json: bool,
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
        Command::Devices { json } => devices(json),
        Command::Config(ConfigCommand::Check { files }) => check(&files),
        Command::Config(ConfigCommand::Show { config }) => show(&config),
    }
}

fn run(config: Option<PathBuf>, state_dir: Option<PathBuf>, allow_sim: bool) -> ExitCode {
    let (settings, config) = match config {
        Some(path) => (app::read_settings(&path), Some(path)),
        None if matches!(Path::new(DEFAULT_CONFIG).try_exists(), Ok(false)) => {
            log::info!("there is no {DEFAULT_CONFIG}; the box starts unconfigured");
            (Ok(Settings::default()), None)
        }
        // A file that may not be read is not an absent one.
        None => {
            let path = PathBuf::from(DEFAULT_CONFIG);
            (app::read_settings(&path), Some(path))
        }
    };
    let settings = match settings {
        Ok(settings) => settings,
        Err(message) => {
            log::error!("{message}");
            return ExitCode::from(EXIT_CONFIG);
        }
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
    match app::run(RunOptions {
        settings,
        config,
        state_dir,
    }) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            log::error!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

#[allow(clippy::print_stdout)] // a command's answer
fn devices(json: bool) -> ExitCode {
    print!("{}", app::list_devices(json));
    ExitCode::SUCCESS
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
