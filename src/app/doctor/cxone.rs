//! CXone: the token, whether it searches, and what it can be told.

use std::collections::BTreeSet;

use crate::cxone::{Cxone, DialectChoice, Error, Provider, Search};
use crate::domain::checkup::{Check, Finding, Kind, State};
use crate::domain::observed::Observed;
use crate::domain::queue::{Operation, WriteResult};
use crate::domain::rules::MatchKey;
use crate::domain::user::Attribute;

use super::{Patient, Side, Trouble, Whose, within};

/// CXone creates nobody without these. Source: CXone SCIM, "Four fields are required".
const REQUIRED: [Attribute; 4] =
    [Attribute::UserName, Attribute::GivenName, Attribute::FamilyName, Attribute::Emails];
/// Of the history, when it is asked whether somebody was created.
const WRITES: usize = 200;
const ALL: [Check; 5] =
    [Check::CxoneToken, Check::CxoneSearch, Check::CxoneFields, Check::CxoneAgentRole, Check::CxoneDialect];

impl Patient {
    pub(super) async fn cxone_side(&self) -> Side {
        let todo = "check the addresses, the credentials and cxone.grant; the access key has to belong to an active \
                    employee";
        let means = "nobody can be looked up or changed in CXone";
        let cxone = match &self.cxone {
            Ok(cxone) => cxone,
            Err(words) => {
                let todo = "check cxone.discovery, or set cxone.scim_url and cxone.token_url instead";
                let token = Finding::fail(Check::CxoneToken, Kind::Unreachable, words, means, todo);
                return without_token(token, Whose::Unknown);
            }
        };
        match within(cxone.authorize()).await {
            Ok(Ok(())) => {}
            Ok(Err(Error::ForeignTenant { found })) => {
                let words = format!("the token of CXone is of tenant {found}");
                let token = Finding::skipped(Check::CxoneToken, "it is of another tenant: see tenant");
                return without_token(token, Whose::Foreign(words));
            }
            Ok(Err(error)) => {
                let token = Trouble::from(error).finding(Check::CxoneToken, means, todo);
                return without_token(token, Whose::Unknown);
            }
            Err(late) => {
                return without_token(late.finding(Check::CxoneToken, means, todo), Whose::Unknown);
            }
        }
        let search = self.search(cxone).await;
        let mut findings = vec![Finding::ok(Check::CxoneToken, "there is a token, or a password, to send")];
        if search.state == State::Fail && search.kind != Some(Kind::Other) {
            // Whoever does not answer, or does not let us in, need not be asked for more.
            let none =
                |check| Finding::skipped(check, "CXone does not let itself be asked: see cxone-search");
            findings.extend([search, none(Check::CxoneFields), none(Check::CxoneDialect)]);
        } else {
            let provider = within(cxone.provider()).await.ok().and_then(Result::ok);
            let provider = provider.and_then(Observed::present);
            findings.extend([search, self.fields(cxone).await, dialect(cxone, provider)]);
        }
        findings.push(self.agent_role().await);
        let whose = cxone.tenant().map_or(Whose::Unknown, |id| Whose::Known(id.to_owned()));
        Side { findings, skew: cxone.skew(), whose }
    }

    /// One search for somebody whom nobody is.
    async fn search(&self, cxone: &Cxone) -> Finding {
        let check = Check::CxoneSearch;
        let nobody = format!("doctor-{}@nobody.invalid", self.random.guid());
        let means = "nobody can be looked up in CXone";
        match within(cxone.find(MatchKey::UserName, &nobody)).await {
            Ok(Ok(Search::None)) => {
                let refused = cxone.learned().refused_filters;
                let keys: Vec<&str> = refused.iter().map(|key| key.name()).collect();
                let also = match keys.is_empty() {
                    true => String::new(),
                    false => format!("; it does not search by {}", keys.join(", ")),
                };
                Finding::ok(check, format!("a user name that nobody has finds nobody{also}"))
            }
            Ok(Ok(Search::Refused)) => {
                let found = "CXone refuses to search by user name";
                let means = "whether somebody is there already cannot be told by it";
                let todo =
                    "check cxone.scim_url; with another target, set cxone.match to what it searches by";
                match self.rules.matching.iter().any(|key| *key != MatchKey::UserName) {
                    true => Finding::warn(check, found, means, todo),
                    false => Finding::fail(check, Kind::Other, found, means, todo),
                }
            }
            Ok(Ok(Search::One(_) | Search::Many(_))) => {
                filter_ignored("it finds a user name that nobody has")
            }
            Ok(Err(Error::Malformed { asked, what })) => {
                filter_ignored(&format!("CXone did not answer with {asked}: {what}"))
            }
            Ok(Err(Error::Status { status: 404, .. })) => Finding::fail(
                check,
                Kind::Configuration,
                "there is nothing at cxone.scim_url (404)",
                means,
                "correct cxone.scim_url: it ends before /Users, usually in /scim/v2, and its host depends on the area \
                 of the tenant",
            ),
            Ok(Err(error)) => {
                let todo = "the employee whose access key it is needs a role with Admin, Employees: View, Create and \
                            Edit; with grant = \"bearer\", get a new token";
                Trouble::from(error).finding(check, means, todo)
            }
            Err(late) => late.finding(check, means, "look at the way out to cxone.scim_url"),
        }
    }

    /// Whether the target's schema has what is mapped.
    async fn fields(&self, cxone: &Cxone) -> Finding {
        let check = Check::CxoneFields;
        let described = match within(cxone.described()).await {
            Ok(Ok(Observed::Present(described))) => described,
            Ok(Ok(Observed::Absent)) => {
                return Finding::skipped(check, "cannot be told: the target shows no schema of its users");
            }
            Ok(Err(error)) => {
                return Finding::skipped(check, format!("cannot be told: {}", Trouble::from(error).words));
            }
            Err(late) => return Finding::skipped(check, format!("cannot be told: {}", late.words)),
        };
        let names = |attributes: &BTreeSet<Attribute>| {
            attributes.iter().map(|attribute| attribute.name()).collect::<Vec<_>>().join(", ")
        };
        let lacking: BTreeSet<Attribute> =
            REQUIRED.into_iter().filter(|attribute| !described.contains(attribute)).collect();
        if !lacking.is_empty() {
            return Finding::fail(
                check,
                Kind::Other,
                format!("the schema of users lacks {}", names(&lacking)),
                "CXone creates nobody without these: what answers here is probably not its SCIM service",
                "check cxone.scim_url",
            );
        }
        let mapped: BTreeSet<Attribute> = self.rules.attributes.keys().copied().collect();
        let unknown: BTreeSet<Attribute> = mapped.difference(&described).copied().collect();
        if !unknown.is_empty() {
            return Finding::warn(
                check,
                format!("mapped, but not in the schema of users: {}", names(&unknown)),
                "they are not kept, or parked as target_ignores_change",
                "enable them on CXone's Account Settings page, or take them out with attributes.NAME.from = \"\"",
            );
        }
        Finding::ok(check, format!("the schema of users has all {} that are mapped", mapped.len()))
    }

    /// SCIM shows no roles. Whether somebody could be created does.
    async fn agent_role(&self) -> Finding {
        let check = Check::CxoneAgentRole;
        let Some(store) = &self.store else {
            return Finding::skipped(
                check,
                "cannot be told: the history stands in the store, which is not open",
            );
        };
        let writes = store.history(None, None, WRITES).await.unwrap_or_default();
        let created = writes.iter().find(|write| {
            write.operation == Operation::Create
                && matches!(write.result, WriteResult::Applied | WriteResult::Refused { .. })
        });
        match created.map(|write| (write.at, &write.result)) {
            Some((at, WriteResult::Refused { error })) => Finding::warn(
                check,
                format!("CXone refused the last account that was to be created, at {at}: {error}"),
                "without a role Agent, or another default role, CXone creates nobody",
                "see that there is a role Agent in CXone (Admin, Security, Roles), or a default role for new users",
            ),
            Some((at, _)) => Finding::ok(check, format!("there is one: an account was created at {at}")),
            None => Finding::skipped(
                check,
                "cannot be told: SCIM shows no roles, and nobody has been created lately; without a role Agent, or \
                 another default role, CXone creates nobody",
            ),
        }
    }
}

fn filter_ignored(found: &str) -> Finding {
    Finding::fail(
        Check::CxoneSearch,
        Kind::Other,
        found,
        "the target ignores the filter, or is no SCIM service: who is looked for would be taken for somebody else, so \
         that nobody is linked or created",
        "check cxone.scim_url, and ask NICE why /Users ignores its filter",
    )
}

fn dialect(cxone: &Cxone, provider: Option<Provider>) -> Finding {
    let check = Check::CxoneDialect;
    let has_no_patch = provider.is_some_and(|provider| provider.patch == Some(false));
    match (cxone.dialect(), cxone.learned().dialect) {
        (DialectChoice::Fixed(dialect), _) if has_no_patch && dialect != crate::cxone::Dialect::Put => {
            Finding::warn(
                check,
                format!("configured as {}, but the target says that it has no PATCH", dialect.name()),
                "changes are refused",
                "set cxone.dialect = \"put\", or \"auto\"",
            )
        }
        (DialectChoice::Fixed(dialect), _) => Finding::ok(check, format!("configured as {}", dialect.name())),
        (DialectChoice::Auto, Some(dialect)) => {
            let name = dialect.name();
            Finding::ok(check, format!("found out: {name}; cxone.dialect = \"{name}\" keeps it"))
        }
        (DialectChoice::Auto, None) => Finding::warn(
            check,
            "how the target wants a change written is not known yet",
            "the first changes find it out, by requests that are refused",
            "have it found out on a test user: cxone-sync doctor --learn USER",
        ),
    }
}

fn without_token(token: Finding, whose: Whose) -> Side {
    let rest = ALL.into_iter().skip(1);
    let none = rest.map(|check| Finding::skipped(check, "there is no token to ask with: see cxone-token"));
    Side { findings: std::iter::once(token).chain(none).collect(), skew: None, whose }
}
