//! The daemon's command line.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};
use huddled::app::{self, ConfigSource, RunOptions};
use huddled::{config, host, manual};

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
        #[command(flatten)]
        files: Files,
        /// Where mute and camera state and the last accepted configuration are kept
        #[arg(long, value_name = "DIR")]
        state_dir: Option<PathBuf>,
        /// Permit simulated devices
        #[arg(long)]
        allow_sim: bool,
        /// What is logged: error, warn, info, debug or trace
        #[arg(long, value_name = "LEVEL", default_value = "info")]
        log_level: log::LevelFilter,
    },
    /// Check, show or describe configuration files
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Write manual pages and shell completions of this program; for packages
    #[command(hide = true)]
    Generate {
        /// Where to
        #[arg(value_name = "DIR")]
        directory: PathBuf,
    },
}

/// Which files are the configuration.
#[derive(Debug, clap::Args)]
struct Files {
    /// This file alone [default: /usr/share/huddled/config.toml, /etc/huddled/config.toml and
    /// /etc/huddled/conf.d/*.toml, where they exist]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The folder that /usr and /etc are looked for in; for tests
    #[arg(long, value_name = "DIR", default_value = "/", hide = true)]
    root: PathBuf,
}

#[derive(Debug, Subcommand)]
enum ConfigCommand {
    /// Say whether files are valid, and what is wrong with them
    Check {
        /// Configuration files, or folders with a config.toml and conf.d/*.toml that are one configuration
        #[arg(required = true, value_name = "FILE")]
        files: Vec<PathBuf>,
    },
    /// Print the effective settings
    Show {
        #[command(flatten)]
        files: Files,
        /// Say behind each value which file and line it came from
        #[arg(long)]
        origin: bool,
    },
    /// Print the JSON schema of a configuration file
    Schema,
    /// Print every setting with type, default, range and meaning, as Markdown
    Reference,
}

fn main() -> ExitCode {
    match Arguments::parse().command {
        Command::Run {
            files,
            state_dir,
            allow_sim,
            log_level,
        } => {
            host::install(log_level);
            run(files, state_dir, allow_sim)
        }
        Command::Config(ConfigCommand::Check { files }) => check(&files),
        Command::Config(ConfigCommand::Show { files, origin }) => show(files, origin),
        Command::Config(ConfigCommand::Schema) => print(&config::schema()),
        Command::Config(ConfigCommand::Reference) => print(&config::reference()),
        Command::Generate { directory } => generate(&directory),
    }
}

fn run(files: Files, state_dir: Option<PathBuf>, allow_sim: bool) -> ExitCode {
    let source = ConfigSource {
        config: files.config,
        root: files.root,
        state_dir,
        allow_sim,
    };
    let configuration = match source.load() {
        Ok(configuration) => configuration,
        Err(message) => {
            log::error!("{message}");
            return ExitCode::from(EXIT_CONFIG);
        }
    };
    if let Some(complaint) = &configuration.complaint {
        log::error!("{complaint}");
    }
    let simulated = configuration.settings.simulated();
    if !simulated.is_empty() {
        log::warn!("running with simulated devices: {}", simulated.join(", "));
    }
    match app::run(RunOptions {
        configuration,
        source,
    }) {
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

#[allow(clippy::print_stdout)] // a command's answer
fn print(text: &str) -> ExitCode {
    print!("{text}");
    ExitCode::SUCCESS
}

#[allow(clippy::print_stderr)] // a command's answer
fn generate(directory: &Path) -> ExitCode {
    match manual::write(&Arguments::command(), directory) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{}: cannot be written: {error}", directory.display());
            ExitCode::FAILURE
        }
    }
}

#[allow(clippy::print_stderr)] // a command's answer
fn show(files: Files, origin: bool) -> ExitCode {
    let source = ConfigSource {
        config: files.config,
        root: files.root,
        state_dir: None,
        allow_sim: true,
    };
    match source.load_strictly() {
        Ok(configuration) if origin => {
            print(&configuration.settings.show_with(&configuration.origins))
        }
        Ok(configuration) => print(&configuration.settings.show()),
        Err(message) => {
            eprintln!("{message}");
            ExitCode::from(EXIT_CONFIG)
        }
    }
}
