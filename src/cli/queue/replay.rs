//! `queue replay`: marks users again, as the journal and the parked jobs know them.

use serde_json::{Value, json};

use crate::cli::confirm::confirm;
use crate::cli::exit::{Exit, Failure};
use crate::cli::follow::Drain;
use crate::cli::screen::{Output, count};
use crate::cli::when::Since;
use crate::cli::{Session, part};
use crate::domain::user::UserId;

/// Mark users again from the journal of notifications
///
/// First says how many users it would mark. On a terminal it then asks; --yes goes on without
/// asking. Off a terminal nobody can be asked: with at least one user to mark, nothing is done
/// without --yes, and the exit code is 2. Marking is harmless: a user who is right already is
/// looked at and left alone.
///
/// With --wait, follows them until everything that is due has been done. Exit codes then: 0 done, 3
/// more users are parked than before, 4 more are held, 1 when it took longer than --timeout.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  cxone-sync queue replay --since 2h
  cxone-sync queue replay --user 3f0c2a9e-1111-4222-8333-444455556666
  cxone-sync queue replay --parked --yes --wait
  cxone-sync queue replay --all --dry-run")]
#[command(group = clap::ArgGroup::new("which").required(true))]
pub struct Args {
    /// Users of notifications since then: a duration ago (2h, 7d) or a time (2026-11-23T10:00:00Z)
    #[arg(long, value_name = "WHEN", group = "which")]
    since: Option<Since>,
    /// This user, whether or not the journal knows them; may be repeated
    #[arg(long = "user", value_name = "ID", group = "which")]
    users: Vec<UserId>,
    /// Users whose jobs are parked
    #[arg(long, group = "which")]
    parked: bool,
    /// Users of every notification that is still in the journal
    #[arg(long, group = "which")]
    all: bool,
    /// Only say how many users it would mark
    #[arg(long)]
    dry_run: bool,
    /// Go on without asking
    #[arg(long, short = 'y')]
    yes: bool,
    #[command(flatten)]
    drain: Drain,
    #[command(flatten)]
    output: Output,
}

pub async fn run(args: &Args, session: &mut Session) -> Result<Exit, Failure> {
    let since = args.since.map(|since| since.resolve(session.clock.now()).to_string());
    let mut request = json!({"parked": args.parked, "all": args.all, "users": args.users});
    if let Some(since) = since {
        request["since"] = since.into();
    }
    let with = |dry_run: bool| {
        let mut request = request.clone();
        request["dry_run"] = Value::Bool(dry_run);
        request
    };
    let path = ["queue", "replay"];
    let counted = session.client.post(&path, with(true)).await?;
    let n: u64 = part(&counted, "users")?;
    if args.dry_run {
        return told(args, session, &counted, &format!("Would mark {}.", count(n, "user")));
    }
    if !confirm(n, &format!("marks {} again", count(n, "user")), args.yes, &mut session.screen)? {
        return told(args, session, &counted, "No user to mark.");
    }
    let before = args.drain.before(session).await?;
    let mut answer = session.client.post(&path, with(false)).await?;
    let n: u64 = part(&answer, "users")?;
    let marked = format!("Marked {}.", count(n, "user"));
    let Some(before) = before else { return told(args, session, &answer, &marked) };
    let before = if args.parked { before.without_parked(n) } else { before };
    let (exit, words, queue) = args.drain.until_done(&before, None, session).await?;
    answer["queue"] = queue;
    told(args, session, &answer, &format!("{marked}\n{words}"))?;
    Ok(exit)
}

fn told(args: &Args, session: &mut Session, answer: &Value, words: &str) -> Result<Exit, Failure> {
    match args.output.is_json() {
        true => session.screen.print_json(answer)?,
        false => session.screen.print(words)?,
    }
    Ok(Exit::Done)
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;
    use crate::cli::client::Via;
    use crate::cli::client::testing::{client, json as answer};
    use crate::cli::screen::testing::screen;
    use crate::clock::Clock;

    /// How it ended, what was sent, and what was printed.
    async fn replay(
        args: Args,
        n: u64,
        interactive: bool,
        typed: &'static str,
    ) -> (Exit, Vec<Value>, String) {
        let sent = Arc::new(Mutex::new(Vec::new()));
        let service = {
            let sent = sent.clone();
            move |request: crate::outbound::Request| {
                assert_eq!(request.url.path(), "/api/v1/queue/replay");
                sent.lock().unwrap().push(serde_json::from_slice::<Value>(&request.body).unwrap());
                answer(200, json!({"users": n}))
            }
        };
        let (screen, out, _) = screen(interactive, typed);
        let clock = Clock::manual("2026-11-23T10:00:00Z".parse().unwrap());
        let mut session = Session { client: client(service), via: Via::Socket, clock, screen };
        let exit = run(&args, &mut session).await.unwrap_or_else(|failure| failure.exit);
        let sent = sent.lock().unwrap().clone();
        (exit, sent, out.text())
    }

    fn args(yes: bool) -> Args {
        let since = Some("2h".parse().unwrap());
        let output = Output::default();
        Args {
            since,
            users: vec![],
            parked: false,
            all: false,
            dry_run: false,
            yes,
            drain: Drain::none(),
            output,
        }
    }

    fn request(dry_run: bool) -> Value {
        json!({"parked": false, "all": false, "users": [], "since": "2026-11-23T08:00:00Z", "dry_run": dry_run})
    }

    #[tokio::test]
    async fn it_counts_first_and_marks_only_with_consent() {
        let (only_counted, marked) = (vec![request(true)], vec![request(true), request(false)]);
        let done = |sent: &Vec<Value>, words: &str| (Exit::Done, sent.clone(), format!("{words}\n"));
        assert_eq!(replay(args(true), 3, false, "").await, done(&marked, "Marked 3 users."));
        assert_eq!(replay(args(false), 3, true, "y\n").await, done(&marked, "Marked 3 users."));
        assert_eq!(replay(args(false), 0, false, "").await, done(&only_counted, "No user to mark."));
        let unasked = replay(args(false), 3, false, "y\n").await;
        assert_eq!(unasked, (Exit::Usage, only_counted.clone(), String::new()));
        let refused = replay(args(false), 3, true, "n\n").await;
        assert_eq!(refused, (Exit::Failed, only_counted.clone(), String::new()));
        let dry = Args { dry_run: true, ..args(true) };
        assert_eq!(replay(dry, 1, false, "").await, done(&only_counted, "Would mark 1 user."));
    }
}
