//! `clew completions`: what a shell needs to complete commands and options.

use std::{io::Write, process::ExitCode};

use clap::CommandFactory;
use clap_complete::Shell;

use crate::{Cli, output};

/// For which shell.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  bash  clew completions bash > ~/.local/share/bash-completion/completions/clew
  zsh   clew completions zsh > \"${fpath[1]}/_clew\"
  fish  clew completions fish > ~/.config/fish/completions/clew.fish")]
pub(crate) struct Args {
    /// The shell to write a script for
    shell: Shell,
}

impl Args {
    /// Writes the script to standard output.
    pub(crate) fn run(self) -> anyhow::Result<ExitCode> {
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut Cli::command(), "clew", &mut script);
        let mut out = output::stdout();
        out.write_all(&script)?;
        out.flush()?;
        Ok(ExitCode::SUCCESS)
    }
}
