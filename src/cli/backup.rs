//! `backup`: the whole store in one file, while the service runs or not.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use serde_json::json;
use tempfile::NamedTempFile;

use super::client::Told;
use super::config::KeyFiles;
use super::exit::{Exit, Failure};
use super::hint;
use super::screen::{Output, count};
use super::{Session, when};
use crate::outbound::{Method, Streamed, header};
use crate::store::{self, Inspected};

/// Write the whole store to a file, as it is at one moment
///
/// The service goes on meanwhile; when none runs, the store itself is copied. The file is checked
/// page by page before it gets its name, only its owner may read it, and `restore` takes it. It
/// holds names and addresses of people: keep it as safe as the store. It does not hold the files
/// beside the store: the key of the history, without which the history of a restored store cannot
/// be verified, and the admin token, which is made anew.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  cxone-sync backup /var/backups/cxone-sync.redb
  cxone-sync backup cxone-sync.redb --force -o json")]
pub struct Args {
    /// Where to write it
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Replace the file if it is there
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    output: Output,
}

pub async fn run(args: &Args, keys: &KeyFiles, session: &mut Session) -> Result<Exit, Failure> {
    let draft = Draft::of(&args.file, args.force)?;
    let (draft, n_bytes) = {
        let spinner = session.screen.spinner("copying the store");
        let answer = session.client.fetch(Method::POST, &["backup"], Some(json!({}))).await?;
        receive(answer, draft, |told| spinner.follow(told)).await?
    };
    let path = draft.path().to_owned();
    let found = tokio::task::spawn_blocking(move || store::inspect(&path)).await;
    let found = found.expect("looking into a file does not panic").map_err(anyhow::Error::from)?;
    draft.keep()?;
    let not_held = keys.shown();
    match args.output.is_json() {
        true => session.screen.print_json(&json!({
            "file": args.file, "bytes": n_bytes, "takenAt": found.taken_at, "schema": found.schema,
            "identity": found.identity, "links": found.links, "jobs": found.jobs, "entries": found.entries,
            "head": { "number": found.head.0, "seal": found.head.1 }, "notHeld": not_held,
        }))?,
        false => session.screen.print(&rendered(&args.file, n_bytes, &found, &not_held))?,
    }
    Ok(Exit::Done)
}

fn rendered(file: &Path, n_bytes: u64, found: &Inspected, not_held: &[String]) -> String {
    let (number, seal) = &found.head;
    let mut text = format!("Wrote {} ({n_bytes} bytes): {}\n", file.display(), held(found));
    if *number > 0 {
        text += &format!("History ends at {number}:{seal}\n");
    }
    for what in not_held {
        text += &format!("Not in it: {what}\n");
    }
    text
}

/// What a backup holds, for people.
pub fn held(found: &Inspected) -> String {
    let Inspected { links, jobs, entries, taken_at, .. } = found;
    let (links, jobs) = (count(*links, "link"), count(*jobs, "job"));
    let entries = if *entries == 1 { "1 entry".to_owned() } else { format!("{entries} entries") };
    let taken = taken_at.map(|at| format!(", taken at {}", when::moment(at))).unwrap_or_default();
    format!("{links}, {jobs}, {entries} of history{taken}")
}

/// Writes what comes in, and sees that it is all.
async fn receive(
    mut answer: Streamed,
    mut draft: Draft,
    mut tell: impl FnMut(&Told),
) -> Result<(Draft, u64), Failure> {
    let said = answer.headers.get(header::CONTENT_LENGTH).and_then(|it| it.to_str().ok()?.parse().ok());
    let mut told = Told { doing: "receiving the copy".to_owned(), done: 0, of: said };
    while let Some(piece) = answer.piece().await.map_err(super::client::ClientError::NoAnswer)? {
        draft.write(&piece)?;
        told.done += piece.len() as u64;
        tell(&told);
    }
    match said {
        Some(said) if said != told.done => {
            let message =
                format!("the backup broke off after {} of {said} bytes; nothing was kept", told.done);
            Err(Failure::new(Exit::Unreachable, message))
        }
        _ => Ok((draft, told.done)),
    }
}

/// A file that gets its name only when it is whole; dropped before, it is gone.
pub struct Draft {
    file: NamedTempFile,
    name: PathBuf,
    replaces: bool,
}

impl Draft {
    pub fn of(name: &Path, replaces: bool) -> Result<Self, Failure> {
        if !replaces && name.exists() {
            return Err(exists(name));
        }
        // Only its owner can read it, by the way it is made.
        let made = tempfile::Builder::new().prefix(".cxone-sync-").tempfile_in(directory_of(name));
        let file = made.map_err(|error| failed("write", name, error))?;
        Ok(Self { file, name: name.to_owned(), replaces })
    }

    fn path(&self) -> &Path {
        self.file.path()
    }

    pub fn write(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        self.file.write_all(bytes).map_err(|error| failed("write", &self.name, error))
    }

    /// On `Ok` it is on disk under its name.
    pub fn keep(self) -> Result<(), Failure> {
        let Self { file, name, replaces } = self;
        file.as_file().sync_all().map_err(|error| failed("write", &name, error))?;
        let kept = match replaces {
            true => file.persist(&name),
            // Somebody may have made one meanwhile.
            false => file.persist_noclobber(&name),
        };
        kept.map_err(|error| match error.error.kind() {
            std::io::ErrorKind::AlreadyExists => exists(&name),
            _ => failed("write", &name, error.error),
        })?;
        let synced = std::fs::File::open(directory_of(&name)).and_then(|directory| directory.sync_all());
        synced.map_err(|error| failed("sync the directory of", &name, error))
    }
}

fn directory_of(name: &Path) -> &Path {
    name.parent().filter(|directory| !directory.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

fn exists(name: &Path) -> Failure {
    Failure::usage(format!("{} is there already, and was left as it is", name.display()))
        .with_hint(Some("choose another name, or say --force to replace it"))
}

fn failed(doing: &str, name: &Path, error: std::io::Error) -> Failure {
    let message = format!("cannot {doing} {}: {error}", name.display());
    Failure::new(Exit::Failed, message).with_hint(hint::of_causes(&error.into()))
}

#[cfg(test)]
pub mod tests;
