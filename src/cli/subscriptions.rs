//! `subscriptions`: what Graph notifies us about.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::exit::{Exit, Failure};
use super::screen::{Column, Output, Screen, printable};
use super::{Session, when};
use crate::domain::subscription::Subscription;

/// See, renew or delete the subscriptions at Microsoft Graph
#[derive(Debug, clap::Subcommand)]
#[command(after_help = "\
Examples:
  cxone-sync subscriptions list
  cxone-sync subscriptions renew 7f105c7d-2dc5-4530-97cd-4e7ae6534c07")]
pub enum Command {
    /// Show the subscriptions and how long they live
    #[command(after_help = "\
Examples:
  cxone-sync subscriptions list
  cxone-sync subscriptions list -o json")]
    List {
        #[command(flatten)]
        output: Output,
    },
    /// Renew one now instead of at half its life
    #[command(after_help = "\
Examples:
  cxone-sync subscriptions renew 7f105c7d-2dc5-4530-97cd-4e7ae6534c07")]
    Renew {
        /// The id that subscriptions list shows
        #[arg(value_parser = id)]
        id: String,
        #[command(flatten)]
        output: Output,
    },
    /// Delete one: Graph stops notifying us; the running service makes a new one at its next check
    #[command(after_help = "\
Examples:
  cxone-sync subscriptions delete 7f105c7d-2dc5-4530-97cd-4e7ae6534c07")]
    Delete {
        /// The id that subscriptions list shows
        #[arg(value_parser = id)]
        id: String,
        #[command(flatten)]
        output: Output,
    },
}

/// Graph's ids are GUIDs; anything plain will do.
fn id(text: &str) -> Result<String, String> {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
    if !text.is_empty() && text.chars().all(plain) {
        Ok(text.to_owned())
    } else {
        Err("expected the id that subscriptions list shows".to_owned())
    }
}

pub async fn run(command: &Command, session: &mut Session) -> Result<Exit, Failure> {
    let (answer, done, output) = match command {
        Command::List { output } => {
            let answer = session.client.get(&["subscriptions"], &[]).await?;
            if !output.is_json() {
                let text = rendered(&answer, session.clock.now(), &session.screen)?;
                session.screen.print(&text)?;
                return Ok(Exit::Done);
            }
            (answer, String::new(), output)
        }
        Command::Renew { id, output } => {
            let answer = session.client.post(&["subscriptions", id, "renew"], json!({})).await?;
            (answer, format!("Renewed {id}."), output)
        }
        Command::Delete { id, output } => {
            (session.client.delete(&["subscriptions", id]).await?, format!("Deleted {id}."), output)
        }
    };
    match output.is_json() {
        true => session.screen.print_json(&answer)?,
        false => session.screen.print(&done)?,
    }
    Ok(Exit::Done)
}

/// The `subscriptions` of an answer as a table.
pub fn rendered(answer: &Value, now: Timestamp, screen: &Screen) -> Result<String, Failure> {
    let subscriptions: Vec<Subscription> = super::part(answer, "subscriptions")?;
    if subscriptions.is_empty() {
        return Ok("No subscriptions. Make them with: cxone-sync subscribe\n".to_owned());
    }
    let mut table = screen.table(&[
        Column::word("resource"),
        Column::word("id"),
        Column::word("expires"),
        Column::word("renewed").spare(1),
        Column::text("notifies").spare(2),
    ]);
    for subscription in subscriptions {
        table.add_row([
            subscription.resource.to_string(),
            printable(&subscription.id),
            when::ago(now, subscription.expires_at),
            when::ago(now, subscription.renewed_at),
            printable(&subscription.notification_url),
        ]);
    }
    Ok(table.lines())
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;
    use crate::cli::screen::testing::{fits, screen};

    #[test]
    fn the_list_shows_what_is_left_of_each_life() {
        let answer = json!({"subscriptions": [
            {"id": "7f105c7d", "resource": "users", "notification_url": "https://sync.example.com/notifications",
             "expires_at": "2026-12-20T10:00:00Z", "renewed_at": "2026-11-23T07:00:00Z"},
            {"id": "0a0b0c0d", "resource": "groups", "notification_url": "https://sync.example.com/notifications",
             "expires_at": "2026-11-23T09:50:00Z", "renewed_at": "2026-10-25T10:00:00Z"},
        ]});
        let now = "2026-11-23T10:00:00Z".parse().unwrap();
        expect![[r#"
            RESOURCE  ID        EXPIRES  RENEWED  NOTIFIES
            users     7f105c7d  in 27d   3h ago   https://sync.example.com/notifications
            groups    0a0b0c0d  10m ago  29d ago  https://sync.example.com/notifications
        "#]]
        .assert_eq(&rendered(&answer, now, &screen(false, "").0).unwrap());
        let none = rendered(&json!({"subscriptions": []}), now, &screen(false, "").0).unwrap();
        assert!(none.contains("cxone-sync subscribe"), "{none}");
        assert!(rendered(&json!({}), now, &screen(false, "").0).is_err());
    }

    #[test]
    fn on_a_narrow_terminal_no_id_is_broken() {
        const ID: &str = "7f105c7d-1111-4222-8333-444455556666";
        let answer = json!({"subscriptions": [
            {"id": ID, "resource": "groups", "notification_url": "https://sync.contact-centre.example.com/notifications",
             "expires_at": "2026-12-20T10:00:00Z", "renewed_at": "2026-11-23T07:00:00Z"},
        ]});
        let now = "2026-11-23T10:00:00Z".parse().unwrap();
        fits(&[ID, "in 27d"], |screen| rendered(&answer, now, screen).unwrap());
    }
}
