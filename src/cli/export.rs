//! `export`: what is kept, for other programs to read.

use std::path::PathBuf;

use super::Session;
use super::backup::Draft;
use super::client::{ClientError, Told};
use super::exit::{Exit, Failure};
use crate::outbound::Method;

/// Write links, jobs, cases, subscriptions and the history as JSON lines
///
/// One JSON object a line, each with its `kind`. The first line says of which schema the others are,
/// and the last how many there were: without it, some are missing. No secrets are in it, but names
/// and addresses of people. To put a store back, use `backup`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  cxone-sync export cxone-sync.jsonl
  cxone-sync export > cxone-sync.jsonl
  cxone-sync export --format jsonl - > cxone-sync.jsonl")]
pub struct Args {
    /// How to write it
    #[arg(long, value_name = "FORMAT", value_enum, default_value_t)]
    format: ExportFormat,
    /// Where to write it; - is standard output
    #[arg(value_name = "FILE", default_value = "-")]
    file: PathBuf,
    /// Replace the file if it is there
    #[arg(long)]
    force: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
enum ExportFormat {
    /// One JSON object a line.
    #[default]
    Jsonl,
}

pub async fn run(args: &Args, session: &mut Session) -> Result<Exit, Failure> {
    let ExportFormat::Jsonl = args.format;
    let to_screen = args.file.as_os_str() == "-";
    let mut draft = match to_screen {
        true => None,
        false => Some(Draft::of(&args.file, args.force)?),
    };
    let spinner = session.screen.spinner("exporting");
    let mut answer = session.client.fetch(Method::GET, &["export"], None).await?;
    let mut lines = Lines::default();
    while let Some(piece) = answer.piece().await.map_err(ClientError::NoAnswer)? {
        match &mut draft {
            Some(draft) => draft.write(&piece)?,
            None if !session.screen.print_piece(&piece)? => return Ok(Exit::Done),
            None => {}
        }
        lines.take(&piece);
        spinner.follow(&Told { doing: "exporting lines".to_owned(), done: lines.n, of: None });
    }
    drop(spinner);
    if !lines.is_whole() {
        return Err(Failure::new(Exit::Unreachable, "the export broke off before its last line"));
    }
    if let Some(draft) = draft {
        draft.keep()?;
        session.screen.note(&format!("Wrote {} lines to {}.", lines.n, args.file.display()));
    }
    Ok(Exit::Done)
}

/// What has come so far, without keeping it.
#[derive(Debug, Default)]
struct Lines {
    n: u64,
    /// What came after the last line but one.
    last: Vec<u8>,
}

impl Lines {
    fn take(&mut self, piece: &[u8]) {
        for part in piece.split_inclusive(|byte| *byte == b'\n') {
            if self.last.ends_with(b"\n") {
                self.last.clear();
            }
            self.last.extend_from_slice(part);
            self.n += u64::from(part.ends_with(b"\n"));
        }
    }

    /// Whether the last line is the end, and counts those before it.
    fn is_whole(&self) -> bool {
        let end: serde_json::Value = serde_json::from_slice(&self.last).unwrap_or_default();
        end["kind"] == "end" && end["lines"].as_u64() == self.n.checked_sub(1)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;
    use crate::cli::client::Via;
    use crate::cli::client::testing::{client, text};
    use crate::cli::screen::testing::screen;
    use crate::clock::Clock;

    const WHOLE: &str =
        "{\"kind\":\"export\",\"schema\":1}\n{\"kind\":\"job\"}\n{\"kind\":\"end\",\"lines\":2}\n";

    async fn export(file: PathBuf, answer: &'static str) -> (Result<Exit, Failure>, String) {
        let asked = Arc::new(Mutex::new(String::new()));
        let service = {
            let asked = asked.clone();
            move |request: crate::outbound::Request| {
                *asked.lock().unwrap() = format!("{} {}", request.method, request.url.path());
                text(200, answer)
            }
        };
        let (of_ours, out, _) = screen(false, "");
        let clock = Clock::manual(jiff::Timestamp::UNIX_EPOCH);
        let mut session = Session { client: client(service), via: Via::Socket, clock, screen: of_ours };
        let exit = run(&Args { format: ExportFormat::Jsonl, file, force: false }, &mut session).await;
        assert_eq!(asked.lock().unwrap().as_str(), "GET /api/v1/export");
        (exit, out.text())
    }

    #[tokio::test]
    async fn what_came_is_written_as_it_is() {
        let (exit, out) = export("-".into(), WHOLE).await;
        assert_eq!((exit.unwrap(), out.as_str()), (Exit::Done, WHOLE));
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("all.jsonl");
        let (exit, out) = export(file.clone(), WHOLE).await;
        assert_eq!((exit.unwrap(), out.as_str()), (Exit::Done, ""));
        assert_eq!(std::fs::read_to_string(&file).unwrap(), WHOLE);
    }

    #[tokio::test]
    async fn an_export_without_its_end_is_not_kept() {
        let directory = tempfile::tempdir().unwrap();
        for (cut, why) in [(30, "in the middle of a line"), (WHOLE.len() - 26, "between two lines")] {
            let (exit, _) = export(directory.path().join("all.jsonl"), &WHOLE[..cut]).await;
            assert_eq!(exit.unwrap_err().exit, Exit::Unreachable, "{why}");
        }
        let missing = "{\"kind\":\"export\"}\n{\"kind\":\"end\",\"lines\":2}\n";
        assert!(export(directory.path().join("all.jsonl"), missing).await.0.is_err());
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0, "nothing is left behind");
    }

    #[test]
    fn pieces_are_cut_anywhere() {
        for size in 1..WHOLE.len() {
            let mut lines = Lines::default();
            WHOLE.as_bytes().chunks(size).for_each(|piece| lines.take(piece));
            assert_eq!((lines.n, lines.is_whole()), (3, true), "{size}");
        }
    }
}
