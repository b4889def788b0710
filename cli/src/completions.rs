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
        let mut out = output::stdout();
        out.write_all(&script(self.shell))?;
        out.flush()?;
        Ok(ExitCode::SUCCESS)
    }
}

/// In memory first: clap_complete panics when it cannot write, as after `| head`.
fn script(shell: Shell) -> Vec<u8> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "clew", &mut script);
    script
}

#[cfg(test)]
mod tests {
    use clap::ValueEnum;

    use super::*;

    #[test]
    fn every_shell_learns_every_command() {
        for shell in Shell::value_variants() {
            let script = String::from_utf8(script(*shell)).unwrap();
            for word in [
                "trace",
                "compare",
                "fix-clocks",
                "load",
                "check",
                "blocks",
                "verify",
                "repair",
                "completions",
                "collector",
            ] {
                assert!(script.contains(word), "{shell} does not know {word}");
            }
        }
    }

    #[test]
    fn the_command_line_is_put_together_soundly() {
        Cli::command().debug_assert();
    }
}
