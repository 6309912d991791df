//! `pullgate completions` and `pullgate man`: files that packages install with the program.

use std::io::Write;
use std::path::PathBuf;

use clap::{Args, CommandFactory as _};
use clap_complete::Shell;

use super::output::{CliError, Exit};

/// Arguments of `pullgate completions`.
#[derive(Debug, Args)]
pub(super) struct Completions {
    /// Shell that will read the script
    shell: Shell,
}

impl Completions {
    pub(super) fn run(&self, out: &mut dyn Write) -> Result<Exit, CliError> {
        let mut script = Vec::new();
        clap_complete::generate(
            self.shell,
            &mut super::ToolArguments::command(),
            "pullgate",
            &mut script,
        );
        // Written in one call, because the generator panics when its output is closed.
        out.write_all(&script)?;
        Ok(Exit::Yes)
    }
}

/// Arguments of `pullgate man`.
#[derive(Debug, Args)]
pub(super) struct Man {
    /// Write the pages of all commands to this directory
    #[arg(long, value_name = "DIR")]
    output: Option<PathBuf>,
}

impl Man {
    pub(super) fn run(&self, out: &mut dyn Write) -> Result<Exit, CliError> {
        let command = super::ToolArguments::command();
        let Some(folder) = &self.output else {
            clap_mangen::Man::new(command).render(out)?;
            return Ok(Exit::Yes);
        };
        std::fs::create_dir_all(folder)
            .and_then(|()| clap_mangen::generate_to(command, folder))
            .map_err(|error| {
                let message = format!("could not write the pages to `{}`", folder.display());
                CliError::new(message, Exit::CouldNotTell).because(error)
            })?;
        Ok(Exit::Yes)
    }
}
