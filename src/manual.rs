//! FLOOR 1: manual pages and shell completions, made from a program's command line.

use std::fs;
use std::io;
use std::path::Path;

use clap::Command;
use clap_complete::{Shell, generate_to};

/// Writes manual pages (section 1, one for each subcommand that is not hidden) into `man` and completions for bash,
/// zsh and fish into `completions`, both below `directory`, which are created.
///
/// # Errors
/// What the system said; what is written by then stays.
pub fn write(command: &Command, directory: &Path) -> io::Result<()> {
    let pages = directory.join("man");
    let completions = directory.join("completions");
    fs::create_dir_all(&pages)?;
    fs::create_dir_all(&completions)?;
    clap_mangen::generate_to(command.clone(), &pages)?;
    let name = command.get_name().to_owned();
    for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
        generate_to(shell, &mut command.clone(), &name, &completions)?;
    }
    Ok(())
}
