//! Who is who when a running contact centre is taken over, and what the two of a pair disagree about.
//!
//! Nothing is guessed: who could be two accounts is left to an operator, and so is an account that
//! two could be. Nothing is lost either: a difference that a new link settles stands in the report.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use jiff::Timestamp;
use serde::Serialize;

use super::conflict::{Decision, Why};
use super::link::{Baseline, Link};
use super::patch::same;
use super::plan::{self, Action, Inputs, Plan, Reason, Source, Target, decide};
use super::rules::{MatchKey, Owner, Rules, Side};
use super::user::{Attribute, Membership, ScimId, SourceUser, TargetUser, UserId, Value};

/// A CXone user as a list shows them: enough to be known by, never to be compared with, because
/// lists lack attributes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    pub id: ScimId,
    pub user_name: Option<String>,
    pub external_id: Option<String>,
    /// All of them, since a search by address looks at all.
    pub emails: Vec<String>,
    pub active: bool,
}

impl Account {
    /// The values a search by this key would compare.
    fn values(&self, key: MatchKey) -> Vec<&str> {
        match key {
            MatchKey::Id => vec![&self.id.0],
            MatchKey::ExternalId => self.external_id.as_deref().into_iter().collect(),
            MatchKey::UserName => self.user_name.as_deref().into_iter().collect(),
            MatchKey::Email => self.emails.iter().map(String::as_str).collect(),
        }
    }
}

/// `userName` and addresses do not depend on case, `externalId` and `id` do (RFC 7643, 3.1 and 4.1).
fn compared(key: MatchKey, value: &str) -> String {
    match key {
        MatchKey::UserName | MatchKey::Email => value.to_lowercase(),
        MatchKey::ExternalId | MatchKey::Id => value.to_owned(),
    }
}

/// What an Entra user is looked for by, in the configured order.
pub type Keys = Vec<(MatchKey, String)>;

/// Which of `people` have a key in common with somebody who could not be looked up: who shares a key
/// may share an account.
pub fn doubtful<'a>(
    people: impl Iterator<Item = (UserId, &'a Keys)>,
    unclear: impl Iterator<Item = &'a Keys>,
) -> HashSet<UserId> {
    let folded = |keys: &'a Keys| keys.iter().map(|(key, value)| (*key, compared(*key, value)));
    let unclear: BTreeSet<_> = unclear.flat_map(folded).collect();
    people.filter(|(_, keys)| folded(keys).any(|key| unclear.contains(&key))).map(|(user, _)| user).collect()
}

/// Every account of a complete list, by what it can be looked for.
#[derive(Debug)]
pub struct Index(BTreeMap<(MatchKey, String), Vec<ScimId>>);

impl Index {
    pub fn new(accounts: &[Account], order: &[MatchKey]) -> Self {
        let mut index: BTreeMap<_, Vec<ScimId>> = BTreeMap::new();
        for account in accounts {
            for &key in order {
                for value in account.values(key) {
                    let hits = index.entry((key, compared(key, value))).or_default();
                    // The same address may stand in one account twice.
                    if hits.last() != Some(&account.id) {
                        hits.push(account.id.clone());
                    }
                }
            }
        }
        Self(index)
    }

    /// As a search in the configured order would answer: the first key that hits decides.
    pub fn find(&self, keys: &Keys) -> Candidate {
        if keys.is_empty() {
            return Candidate::Unmatchable;
        }
        let hit = keys.iter().find_map(|(key, value)| {
            let accounts = self.0.get(&(*key, compared(*key, value)))?;
            Some((*key, accounts.clone()))
        });
        match hit {
            None => Candidate::None,
            Some((by, accounts)) => match <[ScimId; 1]>::try_from(accounts) {
                Ok([account]) => Candidate::One { by, account },
                Err(accounts) => Candidate::Several { by, hits: accounts.len(), accounts },
            },
        }
    }
}

/// Which accounts an Entra user could be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Candidate {
    One {
        by: MatchKey,
        account: ScimId,
    },
    /// `accounts` is empty where CXone tells only how many.
    Several {
        by: MatchKey,
        hits: usize,
        accounts: Vec<ScimId>,
    },
    /// Every usable key was asked, none hit.
    None,
    /// There was no key to ask by.
    Unmatchable,
}

/// Who is linked already, seen from both sides.
#[derive(Debug, Default)]
pub struct Links {
    of_users: HashMap<UserId, ScimId>,
    of_accounts: HashMap<ScimId, UserId>,
}

impl FromIterator<(UserId, ScimId)> for Links {
    fn from_iter<I: IntoIterator<Item = (UserId, ScimId)>>(pairs: I) -> Self {
        let mut links = Self::default();
        for (user, account) in pairs {
            links.of_users.insert(user, account.clone());
            links.of_accounts.insert(account, user);
        }
        links
    }
}

impl Links {
    pub fn has_user(&self, user: UserId) -> bool {
        self.of_users.contains_key(&user)
    }
}

/// What is to become of one Entra user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    Linked,
    Matched { by: MatchKey, account: ScimId },
    Ambiguous(Ambiguity),
    Unmatched,
    Unmatchable,
}

/// Why a hit is not believed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "reason", rename_all = "snake_case", rename_all_fields = "camelCase")]
pub enum Ambiguity {
    SeveralAccounts {
        by: MatchKey,
        hits: usize,
        accounts: Vec<ScimId>,
    },
    /// Others, who are not linked either, hit the same account.
    SharedAccount {
        by: MatchKey,
        account: ScimId,
        others: Vec<UserId>,
    },
    /// The account is linked to somebody else.
    TakenAccount {
        by: MatchKey,
        account: ScimId,
        linked_to: UserId,
    },
}

impl Ambiguity {
    /// A sentence for an operator.
    pub fn sentence(&self) -> String {
        match self {
            Self::SeveralAccounts { by, hits, .. } => {
                format!("{hits} CXone users have the same {}", by.name())
            }
            Self::SharedAccount { by, account, others } => {
                let others: Vec<String> = others.iter().map(UserId::to_string).collect();
                let by = by.name();
                format!(
                    "CXone user {account}, found by {by}, is also that of Entra user {}",
                    others.join(", ")
                )
            }
            Self::TakenAccount { by, account, linked_to } => {
                format!(
                    "CXone user {account}, found by {}, is already linked to Entra user {linked_to}",
                    by.name()
                )
            }
        }
    }
}

/// Says of each user in scope what is to become of them, in the order given.
pub fn judge(candidates: Vec<(UserId, Candidate)>, links: &Links) -> Vec<(UserId, Verdict)> {
    let mut wanted: HashMap<ScimId, Vec<UserId>> = HashMap::new();
    for (user, candidate) in &candidates {
        if let Candidate::One { account, .. } = candidate
            && !links.has_user(*user)
        {
            wanted.entry(account.clone()).or_default().push(*user);
        }
    }
    let verdict = |user: UserId, candidate: Candidate| match candidate {
        _ if links.has_user(user) => Verdict::Linked,
        Candidate::None => Verdict::Unmatched,
        Candidate::Unmatchable => Verdict::Unmatchable,
        Candidate::Several { by, hits, accounts } => {
            Verdict::Ambiguous(Ambiguity::SeveralAccounts { by, hits, accounts })
        }
        Candidate::One { by, account } => {
            if let Some(&linked_to) = links.of_accounts.get(&account) {
                return Verdict::Ambiguous(Ambiguity::TakenAccount { by, account, linked_to });
            }
            let others: Vec<UserId> =
                wanted[&account].iter().copied().filter(|other| *other != user).collect();
            match others.is_empty() {
                true => Verdict::Matched { by, account },
                false => Verdict::Ambiguous(Ambiguity::SharedAccount { by, account, others }),
            }
        }
    };
    candidates.into_iter().map(|(user, candidate)| (user, verdict(user, candidate))).collect()
}

/// The accounts that no user in scope is, or could be, and that are linked to nobody.
pub fn strangers<'a>(
    accounts: &'a [Account],
    verdicts: &[(UserId, Verdict)],
    links: &Links,
) -> Vec<&'a Account> {
    let mut claimed: HashSet<&ScimId> = links.of_accounts.keys().collect();
    for (_, verdict) in verdicts {
        match verdict {
            Verdict::Matched { account, .. }
            | Verdict::Ambiguous(
                Ambiguity::SharedAccount { account, .. } | Ambiguity::TakenAccount { account, .. },
            ) => {
                claimed.insert(account);
            }
            Verdict::Ambiguous(Ambiguity::SeveralAccounts { accounts, .. }) => claimed.extend(accounts),
            Verdict::Linked | Verdict::Unmatched | Verdict::Unmatchable => {}
        }
    }
    accounts.iter().filter(|account| !claimed.contains(&account.id)).collect()
}

/// An attribute in which the two of a pair differ, and about which somebody decides: not one that is
/// only set at creation, nor one that CXone owns and Entra does not fill.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Conflict {
    pub attribute: Attribute,
    /// Entra's value, mapped.
    pub entra: Option<Value>,
    pub cxone: Option<Value>,
    pub owner: Owner,
    /// Whose value stands once the user has been synchronised.
    pub wins: Side,
}

/// What synchronising a user will do first, once writes are on and the guard agrees.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Next {
    Nothing,
    WouldChange,
    WouldReactivate,
    WouldDeactivate,
    /// Something that an operator has to look at.
    WouldStop,
}

/// A pair, ready to be linked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pair {
    pub link: Link,
    pub conflicts: Vec<Conflict>,
    pub next: Next,
}

/// Compares a user in scope with the account found for them, read whole. The baseline of the link
/// is what both show now, whether they agree or not: what an owner such as `newest` or `hold` would
/// call a conflict is settled by it, and drift is measured from here.
///
/// # Errors
/// The reason why the user cannot be compared, such as a mapping that fails.
pub fn pair(
    rules: &Rules,
    user: &SourceUser,
    membership: &Membership,
    shown: &TargetUser,
    now: Timestamp,
    fingerprint: String,
) -> Result<Pair, Reason> {
    let target = Target::Found(shown.clone());
    let revert = BTreeSet::new();
    let decided = |user: &SourceUser, link: Option<&Link>| {
        let source = Source::Present(user.clone());
        let inputs = Inputs {
            user: user.id,
            source: &source,
            membership,
            target: &target,
            link,
            restraints: &[],
            revert: &revert,
            out_of_scope_since: None,
            now,
        };
        decide(rules, &inputs)
    };
    // The plan of somebody who is disabled compares nothing; the baseline is wanted all the same.
    let enabled = SourceUser { enabled: true, ..user.clone() };
    let Plan { verdicts, reason, .. } = decided(&enabled, None);
    if verdicts.is_empty() {
        return Err(reason);
    }
    let source = |attribute: Attribute, value: &Option<Value>| match attribute {
        Attribute::Active => Some(Value::Flag(user.enabled)),
        _ => value.clone(),
    };
    let baseline = verdicts
        .iter()
        .filter(|verdict| verdict.why != Why::GroupsUnread)
        .map(|v| {
            let both = Baseline { source: source(v.attribute, &v.source), target: v.target.clone() };
            (v.attribute, both)
        })
        .collect();
    let link = Link {
        scim_id: shown.id.clone(),
        baseline,
        confirmed_at: now,
        source_fingerprint: Some(fingerprint),
        deactivated_by_us: false,
        source_gone: false,
        purged: false,
        returned_at: None,
        normalised: BTreeMap::new(),
    };
    let plan = decided(user, Some(&link));
    let then = decided(&enabled, Some(&link));
    let conflicts = then
        .verdicts
        .iter()
        .filter(|verdict| is_compared(verdict))
        .map(|v| {
            let entra = source(v.attribute, &v.source);
            let written = match (v.attribute, user.enabled) {
                (Attribute::Active, false) => matches!(plan.action, Action::Deactivate { .. }),
                _ => v.decision == Decision::Write,
            };
            let wins = if written { Side::Entra } else { Side::Cxone };
            Conflict { attribute: v.attribute, entra, cxone: v.target.clone(), owner: v.owner, wins }
        })
        .filter(|conflict| !same(conflict.attribute, conflict.entra.as_ref(), conflict.cxone.as_ref()))
        .collect();
    Ok(Pair { link, conflicts, next: next(&plan.action) })
}

/// Whether the difference is anybody's to decide. Which roles Entra would give is known only when
/// they are Entra's to give: else nobody reads the groups of the table.
fn is_compared(verdict: &plan::Verdict) -> bool {
    let cxones = verdict.owner == Owner::Cxone;
    let unsaid = cxones && (verdict.source.is_none() || verdict.attribute == Attribute::Roles);
    !unsaid && !matches!(verdict.why, Why::NotMapped | Why::CreateOnly)
}

fn next(action: &Action) -> Next {
    match action {
        Action::Nothing => Next::Nothing,
        Action::Patch(_) => Next::WouldChange,
        Action::Reactivate(_) => Next::WouldReactivate,
        Action::Deactivate { .. } => Next::WouldDeactivate,
        Action::Create(_) | Action::Hold | Action::Park | Action::LookAgain | Action::Confirm { .. } => {
            Next::WouldStop
        }
    }
}

#[cfg(test)]
mod tests;
