//! `subscribe`: has Graph notify us.

use serde_json::{Value, json};

use super::Session;
use super::exit::{Exit, Failure};
use super::screen::{Output, Paint, printable, shown};
use super::subscriptions;

/// Check the public URL, then create or adopt the subscriptions for users and groups
///
/// The service must be running and reachable from the internet at service.public_url: Microsoft
/// Graph calls it back before it makes a subscription. Doing this twice is harmless.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  cxone-sync subscribe
  cxone-sync subscribe -o json")]
pub struct Args {
    #[command(flatten)]
    output: Output,
}

pub async fn run(args: &Args, session: &mut Session) -> Result<Exit, Failure> {
    let answer = session.client.post(&["subscriptions"], json!({})).await?;
    let failed = answer["check"]["ok"] == json!(false);
    if args.output.is_json() {
        session.screen.print_json(&answer)?;
    } else {
        let list = subscriptions::rendered(&answer, session.clock.now(), &session.screen)?;
        let text = checked(&answer["check"], session.screen.paint) + "\n" + &list;
        session.screen.print(&text)?;
    }
    Ok(if failed { Exit::Failed } else { Exit::Done })
}

/// The check of the public URL, and what to do when it failed.
fn checked(check: &Value, paint: Paint) -> String {
    let word = |name: &str| check.get(name).filter(|word| !word.is_null()).map(|word| shown(Some(word)));
    let url = word("url").unwrap_or_else(|| "the public URL".to_owned());
    if check["ok"] == json!(false) {
        let problem =
            word("problem").or_else(|| word("message")).unwrap_or_else(|| "no reason given".to_owned());
        let todo = word("todo").unwrap_or_else(|| {
            "Make the service answer there from the internet: DNS, firewall, the reverse proxy, a valid \
             certificate; then run subscribe again."
                .to_owned()
        });
        return format!("{} {url} does not answer as it must: {problem}\n  {todo}\n", paint.bad("✗"));
    }
    let mut text = format!("{} {url} answers\n", paint.good("✓"));
    for (name, value) in check.as_object().into_iter().flatten() {
        if !matches!(name.as_str(), "ok" | "url") && !value.is_null() {
            text += &format!("  {}: {}\n", printable(name), shown(Some(value)));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;

    #[test]
    fn a_failed_check_says_what_is_wrong_and_what_to_do() {
        let check = json!({"ok": false, "url": "https://sync.example.com/notifications",
                           "problem": "the name does not resolve", "todo": "Add it to the DNS."});
        expect![[r#"
            ✗ https://sync.example.com/notifications does not answer as it must: the name does not resolve
              Add it to the DNS.
        "#]]
        .assert_eq(&checked(&check, Paint::default()));
        let bare = checked(&json!({"ok": false}), Paint::default());
        assert!(bare.contains("no reason given") && bare.contains("firewall"), "{bare}");
        let good = json!({"ok": true, "url": "https://sync.example.com/notifications", "took_ms": 84});
        expect![[r#"
            ✓ https://sync.example.com/notifications answers
              took_ms: 84
        "#]]
        .assert_eq(&checked(&good, Paint::default()));
    }
}
