//! `mapping`: what the rules say, and what is probably not meant.

use serde::Deserialize;
use serde_json::{Value, json};

use super::exit::{Exit, Failure};
use super::screen::{Column, Output, Paint, Screen, count, printable};
use super::{Cli, Session, config, understood};
use crate::domain::rules::{Owner, Rules, Side};
use crate::domain::user::Attribute;

/// See what the rules say, and what is probably not meant
#[derive(Debug, clap::Subcommand)]
#[command(after_help = "\
Examples:
  cxone-sync mapping table
  cxone-sync mapping lint")]
pub enum Command {
    /// Show how each attribute is mapped, and the role table read in both directions
    ///
    /// As the configuration says it; what a running service goes by is the configuration it has read.
    #[command(after_help = "\
Examples:
  cxone-sync mapping table
  cxone-sync --config new.toml mapping table -o json")]
    Table {
        #[command(flatten)]
        output: Output,
    },
    /// Look for what is probably not meant in the rules in force
    ///
    /// Finds role rows that never apply, groups that are no longer in the directory, roles and groups
    /// that are ambiguous when the table is read backwards, and expressions that fail, give what cannot
    /// be written, or give nothing where CXone requires something. Expressions are tried on the users
    /// as they were last seen; as long as nobody was, on some users of the directory.
    ///
    /// Exit codes: 0 nothing was found, 1 something was.
    #[command(after_help = "\
Examples:
  cxone-sync mapping lint
  cxone-sync mapping lint -o json")]
    Lint {
        #[command(flatten)]
        output: Output,
    },
}

pub fn table(output: Output, cli: &Cli, mut screen: Screen) -> Result<Exit, Failure> {
    let rules = config::load(cli)?.rules;
    match output.is_json() {
        true => screen.print_json(&as_json(&rules))?,
        false => {
            let text = rendered(&rules, &screen);
            screen.print(&text)?;
        }
    }
    Ok(Exit::Done)
}

pub async fn lint(output: Output, session: &mut Session) -> Result<Exit, Failure> {
    let spinner = session.screen.spinner("asking the directory and trying the expressions");
    let answer = session.client.post(&["lint"], json!({})).await?;
    drop(spinner);
    let found: Found = understood(&answer)?;
    match output.is_json() {
        true => session.screen.print_json(&answer)?,
        false => session.screen.print(&found.rendered(session.screen.paint))?,
    }
    Ok(if found.findings.is_empty() { Exit::Done } else { Exit::Failed })
}

/// Where the value of an attribute comes from.
fn from(rules: &Rules, attribute: Attribute) -> String {
    match attribute {
        Attribute::Active => "[accountEnabled], in scope".to_owned(),
        Attribute::Roles => "[[roles]]".to_owned(),
        _ => {
            let rule = rules.attributes.get(&attribute);
            rule.and_then(|rule| rule.from.as_ref()).map(ToString::to_string).unwrap_or_default()
        }
    }
}

fn as_json(rules: &Rules) -> Value {
    let attributes = rules.attributes.iter().map(|(attribute, rule)| {
        json!({
            "attribute": attribute, "from": from(rules, *attribute), "owner": rule.owner, "tie": rule.tie,
            "create_only": rule.create_only,
        })
    });
    let rows = rules.roles.rows();
    let roles =
        rows.iter().map(|row| json!({ "group": row.group, "role": row.role, "privileged": row.privileged }));
    json!({ "attributes": attributes.collect::<Vec<_>>(), "roles": roles.collect::<Vec<_>>() })
}

fn rendered(rules: &Rules, screen: &Screen) -> String {
    let mut attributes = screen.table(&[
        Column::word("attribute"),
        Column::text("from"),
        Column::word("owner"),
        Column::word("tie").spare(2),
        Column::word("create only").spare(1),
    ]);
    for (attribute, rule) in &rules.attributes {
        let owner = match rule.owner {
            Owner::Entra => "entra",
            Owner::Cxone => "cxone",
            Owner::Newest => "newest",
            Owner::Hold => "hold",
        };
        let tie = match (rule.owner, rule.tie) {
            (Owner::Newest, Side::Entra) => "entra",
            (Owner::Newest, Side::Cxone) => "cxone",
            // Nobody asks for it.
            _ => "-",
        };
        let create_only = if rule.create_only { "yes" } else { "no" };
        let from = printable(&from(rules, *attribute));
        attributes.add_row([attribute.name(), &from, owner, tie, create_only]);
    }
    let heading = |text| screen.paint.heading(text);
    let mut text = format!("{}\n{}", heading("Attributes"), attributes.lines());
    let mut rows: Vec<_> = rules.roles.rows().iter().collect();
    if rows.is_empty() {
        return text + "\nNo role is given by a group.\n";
    }
    let mut by_group = screen.table(&[
        Column::word("members of"),
        Column::text("have role"),
        Column::word("privileged").spare(1),
    ]);
    rows.sort_by_key(|row| row.group);
    for row in &rows {
        let privileged = if row.privileged { "yes" } else { "no" };
        by_group.add_row([row.group.to_string().as_str(), &printable(&row.role), privileged]);
    }
    let mut by_role = screen.table(&[Column::text("role"), Column::word("needs group")]);
    rows.sort_by(|a, b| a.role.cmp(&b.role));
    for row in rows {
        by_role.add_row([printable(&row.role), row.group.to_string()]);
    }
    text += &format!("\n{}\n{}", heading("From group to role"), by_group.lines());
    text += &format!("\n{}\n{}", heading("From role to group"), by_role.lines());
    if !rules.gives_roles() {
        text += "attributes.roles.owner is \"cxone\": roles are neither given nor taken.\n";
    }
    text
}

/// What was found, as the API tells it.
#[derive(Debug, Deserialize)]
struct Found {
    findings: Vec<Finding>,
    users: u64,
    from: String,
}

#[derive(Debug, Deserialize)]
struct Finding {
    code: String,
    sentence: String,
    todo: String,
    n_users: u64,
    users: Vec<String>,
}

impl Found {
    fn rendered(&self, paint: Paint) -> String {
        let mut text = String::new();
        for finding in &self.findings {
            let code = paint.faint(&format!("({})", printable(&finding.code)));
            text += &format!("{} {} {code}\n", paint.bad("!"), printable(&finding.sentence));
            text += &format!("    {}\n", printable(&finding.todo));
            if finding.n_users > 0 {
                let some = printable(&finding.users.join(", "));
                let more = if finding.n_users > finding.users.len() as u64 { ", …" } else { "" };
                text += &format!("    {}: {some}{more}\n", count(finding.n_users, "user"));
            }
        }
        let whom = match self.from.as_str() {
            "seen" => "as last seen",
            _ => "of the directory",
        };
        let tried = format!("expressions were tried on {} {whom}", count(self.users, "user"));
        text + &match self.findings.len() as u64 {
            0 => format!("Nothing was found; {tried}.\n"),
            n => format!("\n{}; {tried}.\n", count(n, "finding")),
        }
    }
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;
    use crate::cli::screen::testing::{fits, screen};
    use crate::config::Config;

    #[test]
    fn the_table_reads_in_both_directions() {
        let text = "
            [graph]\ntenant_id = \"contoso.com\"\nclient_id = \"app\"\nclient_secret = \"x\"
            [cxone]\nsubdomain = \"contoso\"\nclient_id = \"cx\"\nclient_secret = \"x\"
            [attributes]\ndisplayName = { from = \"Join(\\\" \\\", [givenName], [surname])\", owner = \"newest\" }
            roles = { owner = \"entra\" }
            [[roles]]\ngroup = \"22222222-2222-4333-8444-555566667777\"\nrole = \"Agent\"
            [[roles]]\ngroup = \"11111111-2222-4333-8444-555566667777\"\nrole = \"Supervisor\"\nprivileged = true
        ";
        let config = Config::parse("c.toml", text, std::iter::empty::<(String, String)>(), &[]).unwrap();
        expect![[r#"
            Attributes
            ATTRIBUTE     FROM                                   OWNER   TIE    CREATE ONLY
            userName      [userPrincipalName]                    entra   -      no
            externalId    [objectId]                             entra   -      yes
            givenName     [givenName]                            entra   -      no
            familyName    [surname]                              entra   -      no
            displayName   Join(" ", [givenName], [surname])      newest  entra  no
            emails        Coalesce([mail], [userPrincipalName])  entra   -      no
            phoneNumbers  [mobilePhone]                          cxone   -      no
            active        [accountEnabled], in scope             entra   -      no
            roles         [[roles]]                              entra   -      no

            From group to role
            MEMBERS OF                            HAVE ROLE   PRIVILEGED
            11111111-2222-4333-8444-555566667777  Supervisor  yes
            22222222-2222-4333-8444-555566667777  Agent       no

            From role to group
            ROLE        NEEDS GROUP
            Agent       22222222-2222-4333-8444-555566667777
            Supervisor  11111111-2222-4333-8444-555566667777
        "#]]
        .assert_eq(&rendered(&config.rules, &screen(false, "").0));
        fits(&["11111111-2222-4333-8444-555566667777", "phoneNumbers"], |screen| {
            rendered(&config.rules, screen)
        });
        let table = as_json(&config.rules);
        assert_eq!(table["roles"][1]["role"], "Supervisor");
        assert_eq!(table["attributes"][0]["attribute"], "userName");
    }

    #[test]
    fn findings_are_shown_with_what_to_do_and_some_users() {
        let found: Found = understood(&json!({"users": 120, "from": "seen", "findings": [
            {"code": "mapping_fails", "sentence": "attributes.team.from fails: Word: …", "todo": "make it give a value",
             "n_users": 7, "users": ["u1", "u2"]},
            {"code": "group_missing", "sentence": "group g is not in the directory any more", "todo": "restore it",
             "n_users": 0, "users": []},
        ]}))
        .unwrap();
        expect![[r#"
            ! attributes.team.from fails: Word: … (mapping_fails)
                make it give a value
                7 users: u1, u2, …
            ! group g is not in the directory any more (group_missing)
                restore it

            2 findings; expressions were tried on 120 users as last seen.
        "#]]
        .assert_eq(&found.rendered(Paint::default()));
        let none: Found = understood(&json!({"users": 1, "from": "directory", "findings": []})).unwrap();
        assert_eq!(
            none.rendered(Paint::default()),
            "Nothing was found; expressions were tried on 1 user of the directory.\n"
        );
    }
}
