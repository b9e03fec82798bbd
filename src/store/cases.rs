//! What is open between operators and the service, user by user, and what operators announced.

use std::collections::BTreeSet;

use jiff::Timestamp;
use redb::ReadableTable;
use uuid::Uuid;

use super::error::Fault;
use super::record::{decode, encode};
use super::tables::{CASES, HELD, Id, PREAPPROVALS, PREAPPROVED, WORKING_ON, batch_key, instant, last_of};
use super::transaction::{Reading, Writing};
use super::{journal, links, log};
use crate::domain::case::{
    Approval, Case, CaseChange, HeldItem, Preapproval, Restraint, RestraintReason, Task, Work, forbidding,
};
use crate::domain::link::Baseline;
use crate::domain::plan::set_hash;
use crate::domain::queue::{Intent, LinkChange, Mark, Reason, Remark};
use crate::domain::user::{Attribute, UserId};

pub(super) fn case(tx: &impl Reading, user: UserId) -> Result<Option<Case>, Fault> {
    tx.read(CASES)?.get(user.as_bytes())?.map(|value| decode(value.value())).transpose()
}

fn put(tx: &Writing, user: UserId, case: &Case) -> Result<(), Fault> {
    let (mut cases, mut held) = (tx.write(CASES)?, tx.write(HELD)?);
    if case.is_empty() {
        cases.remove(user.as_bytes())?;
    } else {
        cases.insert(user.as_bytes(), encode(case).as_slice())?;
    }
    match &case.held {
        Some(item) => held.insert(user.as_bytes(), instant(item.since).as_slice())?,
        None => held.remove(user.as_bytes())?,
    };
    Ok(())
}

/// Changes a case, writing only what differs.
fn update(tx: &Writing, user: UserId, change: impl FnOnce(&mut Case)) -> Result<Case, Fault> {
    let before = case(tx, user)?.unwrap_or_default();
    let mut after = before.clone();
    change(&mut after);
    if after != before {
        put(tx, user, &after)?;
    }
    let batch = |case: &Case| case.work.as_ref().map(|work| work.batch.clone());
    let (old, new) = (batch(&before), batch(&after));
    if old != new {
        let mut working_on = tx.write(WORKING_ON)?;
        if let Some(old) = old {
            working_on.remove(batch_key(&old, user.as_bytes()).as_slice())?;
        }
        if let Some(new) = new {
            working_on.insert(batch_key(&new, user.as_bytes()).as_slice(), [].as_slice())?;
        }
    }
    Ok(after)
}

/// Notes who has work to do, of a store that did not keep it.
pub(super) fn index_all(tx: &Writing) -> Result<(), Fault> {
    let mut working_on = tx.write(WORKING_ON)?;
    for entry in tx.read(CASES)?.iter()? {
        let (user, case) = entry?;
        if let Some(work) = decode::<Case>(case.value())?.work {
            working_on.insert(batch_key(&work.batch, user.value()).as_slice(), [].as_slice())?;
        }
    }
    Ok(())
}

pub(super) fn change(tx: &Writing, user: UserId, change: &CaseChange) -> Result<(), Fault> {
    if *change == CaseChange::default() {
        return Ok(());
    }
    update(tx, user, |case| *case = change.applied_to(std::mem::take(case))).map(drop)
}

/// A page of cases in the order of their users.
pub(super) fn cases(
    tx: &impl Reading,
    after: Option<UserId>,
    limit: usize,
) -> Result<Vec<(UserId, Case)>, Fault> {
    let from = after.unwrap_or(UserId::from_bytes([0; 16]));
    let mut found = Vec::new();
    for entry in tx.read(CASES)?.range::<&Id>(from.as_bytes()..)? {
        let (user, case) = entry?;
        let user = UserId::from_bytes(*user.value());
        if found.len() == limit {
            break;
        }
        if Some(user) != after {
            found.push((user, decode(case.value())?));
        }
    }
    Ok(found)
}

/// Everything the guard holds, in the order of the users.
pub(super) fn held(tx: &impl Reading) -> Result<Vec<(UserId, HeldItem)>, Fault> {
    let mut items = Vec::new();
    for entry in tx.read(HELD)?.iter()? {
        let user = UserId::from_bytes(*entry?.0.value());
        items.extend(case(tx, user)?.and_then(|case| case.held).map(|item| (user, item)));
    }
    Ok(items)
}

/// What an operator says of things that are held.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ruling {
    /// Exactly these users; empty: everything that is held.
    pub users: Vec<UserId>,
    /// The hash of the set as it was shown; another set is not touched.
    pub set: String,
    pub by: String,
    pub verdict: Verdict,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    Approve { expires_at: Timestamp },
    Reject,
}

/// What became of a ruling.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ruled {
    Done {
        users: usize,
    },
    /// The set is another one by now: its hash, and how many are in it. Nothing was changed.
    OtherSet {
        set: String,
        users: usize,
    },
}

pub(super) fn rule(tx: &Writing, ruling: &Ruling, now: Timestamp) -> Result<Ruled, Fault> {
    let named: BTreeSet<UserId> = ruling.users.iter().copied().collect();
    let mut items = held(tx)?;
    items.retain(|(user, _)| named.is_empty() || named.contains(user));
    let set = set_hash(items.iter().map(|(user, item)| (*user, item.plan.as_str())));
    if set != ruling.set || items.is_empty() {
        return Ok(Ruled::OtherSet { set, users: items.len() });
    }
    for (user, item) in &items {
        let by = ruling.by.clone();
        let (code, words) = match ruling.verdict {
            Verdict::Approve { expires_at } => {
                let approval =
                    Approval { plan: item.plan.clone(), set: set.clone(), by, at: now, expires_at };
                update(tx, *user, |case| case.approval = Some(approval))?;
                ("approved", format!("plan {} of set {set}, until {expires_at}", item.plan))
            }
            Verdict::Reject => {
                reject(tx, *user, item, &by, now)?;
                ("rejected", format!("plan {} of set {set}", item.plan))
            }
        };
        say(tx, *user, now, code, words, Some(ruling.by.clone()), None)?;
        mark(tx, *user, now)?;
    }
    Ok(Ruled::Done { users: items.len() })
}

/// What was held is forbidden, and an order that wanted it is at its end. Of an undo nothing is
/// forbidden: what it would have brought back is not what Entra says, so that nobody else wants it.
fn reject(tx: &Writing, user: UserId, item: &HeldItem, by: &str, now: Timestamp) -> Result<(), Fault> {
    let work = case(tx, user)?.and_then(|case| case.work);
    let is_undo = matches!(&work, Some(Work { task: Task::Undo { .. }, .. }));
    let forbidden = if is_undo { Vec::new() } else { forbidding(&item.changes) };
    let restraint = |forbids| Restraint {
        forbids,
        why: RestraintReason::Rejected,
        evidence: item.evidence.as_ref().map(|evidence| evidence.code().to_owned()),
        by: by.to_owned(),
        at: now,
    };
    let change = CaseChange {
        held: Some(None),
        restrain: forbidden.into_iter().map(restraint).collect(),
        work_done: work.as_ref().map(|work| work.batch.clone()),
        ..CaseChange::default()
    };
    self::change(tx, user, &change)?;
    match work {
        Some(work) => skip(tx, user, now, &work, "rejected", Some(by)),
        None => Ok(()),
    }
}

/// Tells that an order is not carried out for this user.
fn skip(
    tx: &Writing,
    user: UserId,
    now: Timestamp,
    work: &Work,
    why: &str,
    by: Option<&str>,
) -> Result<(), Fault> {
    let words = format!("{}: {why}", work.task.name());
    say(tx, user, now, "skipped", words, by.map(str::to_owned), Some(work.batch.clone()))
}

/// Looked at again at once, by an operator's hand.
fn mark(tx: &Writing, user: UserId, now: Timestamp) -> Result<(), Fault> {
    let mark = Mark { user, reason: Reason::Operator, news_at: now, urgent: false, removed: None };
    journal::mark(tx, &[mark], now)
}

fn say(
    tx: &Writing,
    user: UserId,
    at: Timestamp,
    code: &str,
    words: String,
    by: Option<String>,
    batch: Option<String>,
) -> Result<(), Fault> {
    log::remark(tx, &Remark { at, user: Some(user), code: code.to_owned(), words, by, batch })
}

/// Ends what forbids something of this user, and looks at them again. How many restraints there were.
pub(super) fn lift(tx: &Writing, user: UserId, by: &str, now: Timestamp) -> Result<usize, Fault> {
    let n = case(tx, user)?.map_or(0, |case| case.restraints.len());
    if n > 0 {
        update(tx, user, |case| case.restraints.clear())?;
        say(tx, user, now, "lifted", format!("{n} restraints"), Some(by.to_owned()), None)?;
        mark(tx, user, now)?;
    }
    Ok(n)
}

/// Gives users something to do. Work that is there already is replaced, and that is told.
pub(super) fn order(tx: &Writing, orders: &[(UserId, Work)], now: Timestamp) -> Result<(), Fault> {
    for (user, work) in orders {
        let earlier = case(tx, *user)?.and_then(|case| case.work);
        if let Some(earlier) = earlier.filter(|earlier| earlier.batch != work.batch) {
            skip(tx, *user, now, &earlier, &format!("replaced by {}", work.batch), Some(&work.by))?;
        }
        update(tx, *user, |case| case.work = Some(work.clone()))?;
        let (by, batch) = (Some(work.by.clone()), Some(work.batch.clone()));
        say(tx, *user, now, work.task.name(), "ordered".to_owned(), by, batch)?;
        mark(tx, *user, now)?;
    }
    Ok(())
}

/// The users who have work of this order still to be done.
pub(super) fn working_on(tx: &impl Reading, batch: &str) -> Result<Vec<UserId>, Fault> {
    let (first, last) = (batch_key(batch, &[0; 16]), batch_key(batch, &[u8::MAX; 16]));
    let working_on = tx.read(WORKING_ON)?;
    let keys = working_on.range::<&[u8]>(first.as_slice()..=last.as_slice())?;
    keys.map(|entry| Ok(UserId::from_bytes(last_of(entry?.0.value())))).collect()
}

/// Takes what CXone shows as the new baseline, so that it is no drift any more. `Err` says why not.
pub(super) fn accept_drift(
    tx: &Writing,
    user: UserId,
    attribute: Attribute,
    by: &str,
    now: Timestamp,
) -> Result<Result<(), String>, Fault> {
    let known = case(tx, user)?.unwrap_or_default();
    let Some(drift) = known.drift.iter().find(|drift| drift.attribute == attribute) else {
        return Ok(Err(format!("user {user} has no drift in {attribute}; `drift list` shows what there is")));
    };
    if let Some(why) = drift.not_acceptable() {
        return Ok(Err(why));
    }
    let Some(mut link) = links::link(tx, user)? else {
        return Ok(Err(format!("user {user} is not linked to a CXone user any more")));
    };
    let baseline = Baseline { source: drift.entra.clone(), target: drift.shown.clone() };
    link.baseline.insert(attribute, baseline);
    links::change(tx, user, &LinkChange::Put(Box::new(link)))?;
    update(tx, user, |case| case.drift.retain(|drift| drift.attribute != attribute))?;
    say(tx, user, now, "drift_accepted", attribute.to_string(), Some(by.to_owned()), None)?;
    // A conflict that was held is none any more.
    mark(tx, user, now)?;
    Ok(Ok(()))
}

pub(super) fn preapprove(
    tx: &Writing,
    preapproval: &Preapproval,
    users: &BTreeSet<UserId>,
) -> Result<(), Fault> {
    let id = *preapproval.id.as_bytes();
    tx.write(PREAPPROVALS)?.insert(&id, encode(preapproval).as_slice())?;
    let mut members = tx.write(PREAPPROVED)?;
    for user in users {
        members.insert(&member(&id, *user), [].as_slice())?;
    }
    let Preapproval { group, most, until, by, at, .. } = preapproval;
    let words = format!("up to {most} for the {} users of group {group}, until {until}", users.len());
    let by = Some(by.clone());
    log::remark(tx, &Remark { at: *at, user: None, code: "preapproved".to_owned(), words, by, batch: None })
}

fn member(id: &Id, user: UserId) -> [u8; 32] {
    let mut key = [0; 32];
    key[..16].copy_from_slice(id);
    key[16..].copy_from_slice(user.as_bytes());
    key
}

pub(super) fn preapprovals(tx: &impl Reading) -> Result<Vec<Preapproval>, Fault> {
    tx.read(PREAPPROVALS)?.iter()?.map(|entry| decode(entry?.1.value())).collect()
}

/// Uses the first preapproval that covers all an intent takes: which, and who gave it.
pub(super) fn use_preapproval(tx: &Writing, intent: &Intent) -> Result<Option<(Id, String)>, Fault> {
    let needed = intent.spend.total();
    for mut found in preapprovals(tx)? {
        let id = *found.id.as_bytes();
        let covers = intent.at < found.until && found.used.saturating_add(needed) <= found.most;
        if covers && tx.read(PREAPPROVED)?.get(&member(&id, intent.user))?.is_some() {
            found.used += needed;
            tx.write(PREAPPROVALS)?.insert(&id, encode(&found).as_slice())?;
            return Ok(Some((id, found.by)));
        }
    }
    Ok(None)
}

pub(super) fn give_preapproval_back(tx: &Writing, id: Id, n: u64) -> Result<(), Fault> {
    let found = tx.read(PREAPPROVALS)?.get(&id)?.map(|value| decode::<Preapproval>(value.value()));
    if let Some(mut found) = found.transpose()? {
        found.used = found.used.saturating_sub(n);
        tx.write(PREAPPROVALS)?.insert(&id, encode(&found).as_slice())?;
    }
    Ok(())
}

/// Ends an announcement early. `false` when there is none of this id.
pub(super) fn end_preapproval(tx: &Writing, id: Uuid, by: &str, now: Timestamp) -> Result<bool, Fault> {
    let known = preapprovals(tx)?.into_iter().find(|found| found.id == id);
    let Some(Preapproval { group, most, used, .. }) = known else { return Ok(false) };
    forget_preapproval(tx, id)?;
    let (words, by) = (format!("{used} of {most} used for the users of group {group}"), Some(by.to_owned()));
    let code = "preapproval_ended".to_owned();
    log::remark(tx, &Remark { at: now, user: None, code, words, by, batch: None })?;
    Ok(true)
}

/// Ends every approval, order and announcement: each may have been used since, in a state that is lost.
/// How many there were.
pub(super) fn end_promises(tx: &Writing, now: Timestamp) -> Result<usize, Fault> {
    let mut promised = Vec::new();
    for entry in tx.read(CASES)?.iter()? {
        let (user, value) = entry?;
        let Case { approval, work, .. } = decode(value.value())?;
        if approval.is_some() || work.is_some() {
            promised.push((UserId::from_bytes(*user.value()), work));
        }
    }
    let preapprovals = preapprovals(tx)?;
    let n_promises = promised.len() + preapprovals.len();
    for (user, work) in promised {
        update(tx, user, |case| (case.approval, case.work) = (None, None))?;
        if let Some(work) = work {
            skip(tx, user, now, &work, "restored", None)?;
        }
    }
    preapprovals.into_iter().try_for_each(|found| forget_preapproval(tx, found.id))?;
    Ok(n_promises)
}

fn forget_preapproval(tx: &Writing, id: Uuid) -> Result<(), Fault> {
    let id = *id.as_bytes();
    let (first, last) =
        (member(&id, UserId::from_bytes([0; 16])), member(&id, UserId::from_bytes([u8::MAX; 16])));
    tx.write(PREAPPROVED)?.retain_in::<&[u8; 32], _>(&first..=&last, |_, _| false)?;
    tx.write(PREAPPROVALS)?.remove(&id)?;
    Ok(())
}

/// Forgets announcements whose time is over.
pub(super) fn prune(tx: &Writing, now: Timestamp) -> Result<(), Fault> {
    for old in preapprovals(tx)?.into_iter().filter(|found| found.until <= now) {
        forget_preapproval(tx, old.id)?;
    }
    Ok(())
}

/// An operator has approved what is held: an approval is for nothing else.
pub(super) fn is_approved(tx: &impl Reading, user: UserId, now: Timestamp) -> Result<bool, Fault> {
    let approval = case(tx, user)?.and_then(|case| case.approval);
    Ok(approval.is_some_and(|given| now < given.expires_at))
}

/// The operator took the job off the queue: what was held is not any more.
pub(super) fn let_go(tx: &Writing, user: UserId) -> Result<(), Fault> {
    change(tx, user, &CaseChange { held: Some(None), ..CaseChange::default() })
}

/// What was ordered goes with the job that would have done it, or whoever follows the order would wait
/// for ever.
pub(super) fn drop_order(tx: &Writing, user: UserId, now: Timestamp) -> Result<(), Fault> {
    let Some(work) = case(tx, user)?.and_then(|case| case.work) else { return Ok(()) };
    update(tx, user, |case| case.work = None)?;
    skip(tx, user, now, &work, "dropped", None)
}

/// In another mode nothing observed is true any more.
pub(super) fn forget_observed(tx: &Writing, limit: usize) -> Result<bool, Fault> {
    let mut observed = Vec::new();
    for entry in tx.read(CASES)?.iter()? {
        let (user, value) = entry?;
        if decode::<Case>(value.value())?.observed.is_some() {
            observed.push(UserId::from_bytes(*user.value()));
        }
        if observed.len() == limit {
            break;
        }
    }
    for user in &observed {
        update(tx, *user, |case| case.observed = None)?;
    }
    Ok(observed.len() == limit)
}
