//! The daemon's command line.

#[cfg(feature = "hub")]
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};
use huddled::app::{self, ConfigSource, Configuration, RunOptions};
use huddled::{config, host, manual};

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
    /// List cameras, microphones, speakers, GPIO chips, keys and LEDs with the names to put into the configuration
    Devices {
        /// Print one JSON document
        #[arg(long)]
        json: bool,
    },
    /// Try every configured device, the server and the clock, and say of each: pass, or what to do
    Selftest {
        #[command(flatten)]
        files: Files,
        /// Permit simulated devices
        #[arg(long)]
        allow_sim: bool,
        /// Ask for a press of each button, and wait for it
        #[arg(long)]
        buttons: bool,
        /// Print one JSON document
        #[arg(long)]
        json: bool,
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
        #[command(flatten)]
        files: Files,
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
    /// Put the panel's lights to their safe state while the daemon does not run: microphone and camera shown as closed
    SafeState {
        #[command(flatten)]
        files: Files,
        /// Where the last accepted configuration is kept
        #[arg(long, value_name = "DIR")]
        state_dir: Option<PathBuf>,
        /// Show on the status light that the box has failed, until SIGTERM
        #[arg(long)]
        hold: bool,
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
    /// The folder that /usr, /etc and /sys are looked for in; for tests
    #[arg(long, value_name = "DIR", default_value = "/", hide = true)]
    root: PathBuf,
}

impl Files {
    fn source(self, state_dir: Option<PathBuf>, allow_sim: bool) -> ConfigSource {
        ConfigSource {
            config: self.config,
            root: self.root,
            state_dir,
            allow_sim,
        }
    }
}

impl Files {
    /// For looking at what a box that runs as a service has: its state lies where the service manager put it, which
    /// nobody tells a person's shell.
    fn inspected(self, state_dir: Option<PathBuf>) -> ConfigSource {
        let services = self.root.join("var/lib/huddled");
        let told = std::env::var_os("STATE_DIRECTORY").is_some();
        let state_dir = state_dir.or_else(|| (!told && services.is_dir()).then_some(services));
        self.source(state_dir, true)
    }
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
        /// Where the last accepted configuration and the remote one are kept [default: $STATE_DIRECTORY, else
        /// /var/lib/huddled where it exists]
        #[arg(long, value_name = "DIR")]
        state_dir: Option<PathBuf>,
        /// Say behind each value which file and line it came from
        #[arg(long)]
        origin: bool,
    },
    /// Say what this box has of the remote configuration
    Remote {
        #[command(flatten)]
        files: Files,
        /// Where it is kept [default: $STATE_DIRECTORY, else /var/lib/huddled where it exists]
        #[arg(long, value_name = "DIR")]
        state_dir: Option<PathBuf>,
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
            files,
            state_dir,
            listen,
            pages,
            links,
            token,
            meeting,
            log_level,
        } => {
            host::install(log_level);
            // A hub opens no devices, so simulated ones are no matter here.
            let mut settings = match load(&files.source(state_dir.clone(), true)) {
                Ok(configuration) => configuration.settings,
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
        Command::Devices { json } => devices(json),
        Command::Selftest {
            files,
            allow_sim,
            buttons,
            json,
        } => selftest(&files.source(None, allow_sim), buttons, json),
        Command::SafeState {
            files,
            state_dir,
            hold,
        } => {
            host::install(log::LevelFilter::Info);
            safe_state(&files.source(state_dir, true), hold)
        }
        Command::Config(ConfigCommand::Check { files }) => check(&files),
        Command::Config(ConfigCommand::Show {
            files,
            state_dir,
            origin,
        }) => show(files, state_dir, origin),
        Command::Config(ConfigCommand::Remote { files, state_dir }) => {
            match files.inspected(state_dir).describe_remote() {
                Ok(text) => print(&text),
                Err(message) => refuse(&message),
            }
        }
        Command::Config(ConfigCommand::Schema) => print(&config::schema()),
        Command::Config(ConfigCommand::Reference) => print(&config::reference()),
        Command::Generate { directory } => generate(&directory),
    }
}

/// Reads the configuration; the exit code where there is none.
fn load(source: &ConfigSource) -> Result<Configuration, ExitCode> {
    match source.load() {
        Ok(configuration) => {
            if let Some(complaint) = &configuration.complaint {
                log::error!("{complaint}");
            }
            Ok(configuration)
        }
        Err(message) => {
            log::error!("{message}");
            Err(ExitCode::from(EXIT_CONFIG))
        }
    }
}

fn run(files: Files, state_dir: Option<PathBuf>, allow_sim: bool) -> ExitCode {
    let source = files.source(state_dir, allow_sim);
    source.begin();
    let configuration = match load(&source) {
        Ok(configuration) => configuration,
        Err(code) => return code,
    };
    let simulated = configuration.settings.simulated();
    if !simulated.is_empty() {
        log::warn!("running with simulated devices: {}", simulated.join(", "));
    }
    app::warn_of_plain_http(&configuration.settings);
    ended(app::run(RunOptions {
        configuration,
        source,
        demo: None,
    }))
}

fn safe_state(source: &ConfigSource, hold: bool) -> ExitCode {
    match source.load_anything() {
        Ok(configuration) => ended(app::safe_state(&configuration.settings, source, hold)),
        Err(message) => {
            log::error!("{message}; so nothing says which lights there are");
            match hold {
                true => ended(app::wait_without_lights()),
                false => ExitCode::from(EXIT_CONFIG),
            }
        }
    }
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

#[allow(clippy::print_stdout)] // a command's answer
fn devices(json: bool) -> ExitCode {
    print!("{}", app::list_devices(json));
    ExitCode::SUCCESS
}

#[allow(clippy::print_stdout, clippy::print_stderr)] // a command's answer, and what a person is to do meanwhile
fn selftest(source: &ConfigSource, buttons: bool, json: bool) -> ExitCode {
    let settings = match source.load_strictly() {
        Ok(configuration) => configuration.settings,
        Err(message) => {
            eprintln!("{message}");
            return ExitCode::from(EXIT_CONFIG);
        }
    };
    let test = app::SelfTest { settings, buttons };
    let checks = test.run(&|what| eprintln!("{what}"), &|check| {
        if !json {
            println!("{}", check.line());
        }
    });
    if json {
        println!("{}", app::selftest_document(&checks));
    }
    match app::passed(&checks) {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
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

fn show(files: Files, state_dir: Option<PathBuf>, origin: bool) -> ExitCode {
    let source = files.inspected(state_dir);
    match source.load_strictly() {
        Ok(configuration) if origin => {
            print(&configuration.settings.show_with(&configuration.origins))
        }
        Ok(configuration) => print(&configuration.settings.show()),
        Err(message) => refuse(&message),
    }
}

#[allow(clippy::print_stderr)] // a command's answer
fn refuse(message: &str) -> ExitCode {
    eprintln!("{message}");
    ExitCode::from(EXIT_CONFIG)
}
