//! `completions`: what a shell needs to complete our command line.

use clap::CommandFactory;
use clap_complete::Shell;

use super::exit::{Exit, Failure};
use super::{Cli, Screen};

/// Print the completions for a shell
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  cxone-sync completions bash > /etc/bash_completion.d/cxone-sync
  cxone-sync completions fish > ~/.config/fish/completions/cxone-sync.fish")]
pub struct Args {
    /// Which shell
    #[arg(value_name = "SHELL", value_enum)]
    shell: Shell,
}

pub fn run(args: &Args, mut screen: Screen) -> Result<Exit, Failure> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "cxone-sync", &mut script);
    screen.print(&String::from_utf8_lossy(&script))?;
    Ok(Exit::Done)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_shell_gets_a_script_that_knows_the_commands() {
        for shell in <Shell as clap::ValueEnum>::value_variants() {
            let (screen, out, _) = crate::cli::screen::testing::screen(false, "");
            run(&Args { shell: *shell }, screen).unwrap();
            assert!(out.text().contains("subscriptions"), "{shell}");
        }
    }
}
