//! `man`: the manual, made from the same definitions as the help.

use std::path::PathBuf;

use clap::CommandFactory;
use clap_mangen::Man;

use super::exit::{Exit, Failure};
use super::{Cli, Screen};

/// Print the manual page, or write one for each command to a directory
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  cxone-sync man > cxone-sync.1
  cxone-sync man /usr/local/share/man/man1")]
pub struct Args {
    /// Where to write the pages; it is made if it is not there
    #[arg(value_name = "DIR")]
    directory: Option<PathBuf>,
}

pub fn run(args: &Args, mut screen: Screen) -> Result<Exit, Failure> {
    // The help of the help says nothing.
    let command = Cli::command().disable_help_subcommand(true);
    let Some(directory) = &args.directory else {
        let mut page = Vec::new();
        Man::new(command).render(&mut page)?;
        screen.print(&String::from_utf8_lossy(&page))?;
        return Ok(Exit::Done);
    };
    let written =
        std::fs::create_dir_all(directory).and_then(|()| clap_mangen::generate_to(command, directory));
    written.map_err(|error| {
        let message = format!("cannot write the pages to {}: {error}", directory.display());
        Failure::new(Exit::Failed, message).with_hint(super::hint::of_causes(&error.into()))
    })?;
    screen.note(&format!("Wrote the pages to {}.", directory.display()));
    Ok(Exit::Done)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::screen::testing::screen;

    fn names(command: &clap::Command, above: &str, found: &mut Vec<String>) {
        let name = format!("{above}{}", command.get_name());
        for below in command.get_subcommands().filter(|below| below.get_name() != "help") {
            names(below, &format!("{name}-"), found);
        }
        found.push(format!("{name}.1"));
    }

    #[test]
    fn every_command_has_a_page_with_its_examples() {
        let directory = tempfile::tempdir().unwrap();
        let into = directory.path().join("man1");
        let (of_ours, out, notes) = screen(false, "");
        run(&Args { directory: Some(into.clone()) }, of_ours).unwrap();
        assert_eq!(out.text(), "", "nothing but the pages");
        assert!(notes.text().contains("man1"));
        let mut expected = Vec::new();
        names(&Cli::command(), "", &mut expected);
        expected.sort();
        let pages = std::fs::read_dir(&into).unwrap();
        let mut pages: Vec<_> = pages.map(|page| page.unwrap().file_name().into_string().unwrap()).collect();
        pages.sort();
        assert_eq!(pages, expected);
        assert!(pages.len() > 40, "{pages:?}");
        for name in pages {
            let page = std::fs::read_to_string(into.join(&name)).unwrap();
            assert!(page.contains(".SH SYNOPSIS") && page.contains("Examples:"), "{name}:\n{page}");
        }
    }

    #[test]
    fn without_a_directory_the_main_page_is_printed() {
        let (of_ours, out, _) = screen(false, "");
        run(&Args { directory: None }, of_ours).unwrap();
        assert!(out.text().contains(".TH cxone-sync 1"), "{}", out.text());
        assert!(out.text().contains("Exit codes:"));
    }
}
