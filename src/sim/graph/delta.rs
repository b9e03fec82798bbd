//! `users/delta` and `groups/delta`: rounds of pages, opaque tokens, and the ways a token dies.
//!
//! A round is drawn up when it begins, from the directory as it is at that moment; what changes
//! while its pages are read comes in the next round. So a page asked for twice is the same page.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::{RawQuery, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::IntoResponse;
use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::Tenant;
use super::answer::{Answer, Refusal};
use super::directory::Kind;
use super::round::{Round, Wish, draw_up};
use super::users;
use crate::sim::dice::Dice;
use crate::sim::wire::{first, pairs};

/// How long a token of a directory object lives.
const TOKEN_LIFETIME: Duration = Duration::from_secs(7 * 24 * 3600);
/// More tokens than this and the oldest die early.
const KEPT_TOKENS: usize = 20_000;
/// `$filter` names at most so many objects.
const MAX_FILTERED: usize = 50;

/// How a dead token is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeltaExpiry {
    /// 400 with code `syncStateNotFound`.
    SyncStateNotFound,
    /// 410 with a `Location` whose `$deltatoken` is empty.
    Gone,
}

#[derive(Clone)]
enum Token {
    Skip { round: Arc<Round>, page: usize },
    Delta { kind: Kind, wish: Wish, from: usize },
}

#[derive(Default)]
pub(super) struct Rounds {
    tokens: HashMap<String, (Timestamp, Token, Option<DeltaExpiry>)>,
    order: VecDeque<String>,
}

impl Rounds {
    fn issue(&mut self, token: Token, now: Timestamp, dice: &Dice) -> String {
        let name = dice.token(48);
        self.tokens.insert(name.clone(), (now, token, None));
        self.order.push_back(name.clone());
        if self.order.len() > KEPT_TOKENS
            && let Some(oldest) = self.order.pop_front()
        {
            self.tokens.remove(&oldest);
        }
        name
    }

    /// Every token given out so far is refused from now on.
    pub(super) fn expire_all(&mut self, kind: Option<Kind>, how: DeltaExpiry) {
        for (_, token, expired) in self.tokens.values_mut() {
            let of = match token {
                Token::Skip { round, .. } => round.kind,
                Token::Delta { kind, .. } => *kind,
            };
            if kind.is_none_or(|kind| kind == of) {
                *expired = Some(how);
            }
        }
    }
}

pub(super) async fn users(State(sim): State<Arc<Tenant>>, query: RawQuery, headers: HeaderMap) -> Answer {
    answer(&sim, Kind::User, query, &headers)
}

pub(super) async fn groups(State(sim): State<Arc<Tenant>>, query: RawQuery, headers: HeaderMap) -> Answer {
    answer(&sim, Kind::Group, query, &headers)
}

fn answer(sim: &Tenant, kind: Kind, RawQuery(query): RawQuery, headers: &HeaderMap) -> Answer {
    let query = pairs(&query.unwrap_or_default());
    for refused in ["$top", "$expand", "$orderby", "$count", "$search", "$skip"] {
        if first(&query, refused).is_some() {
            return Err(Refusal::bad_request(format!("The query option '{refused}' is not supported.")));
        }
    }
    let minimal = headers.get("prefer").is_some_and(|prefer| prefer.as_bytes() == b"return=minimal");
    let given = wish(kind, &query)?;
    let now = sim.traffic.clock.now();
    let directory = sim.directory();
    let mut rounds = sim.rounds();
    let (round, page) = match (first(&query, "$skiptoken"), first(&query, "$deltatoken")) {
        (Some(_), Some(_)) => return Err(Refusal::bad_request("A link holds one token.")),
        (Some(_), None) if query.len() > 1 => {
            return Err(Refusal::bad_request(
                "The query parameters of a delta request are part of its skip token.",
            ));
        }
        (None, None | Some("")) => (draw_up(sim, &directory, kind, given, None, false), 0),
        (None, Some("latest")) => {
            let end = directory.log.len();
            (Arc::new(Round { kind, wish: given, pages: vec![Vec::new()], end }), 0)
        }
        (Some(name), None) | (None, Some(name)) => match live(&rounds, name, now) {
            Err(how) => return expired(sim, kind, how),
            Ok(Token::Skip { round, page })
                if round.kind == kind && first(&query, "$skiptoken").is_some() =>
            {
                (round, page)
            }
            Ok(Token::Delta { kind: of, wish, from })
                if of == kind && first(&query, "$deltatoken").is_some() =>
            {
                // A `$select` beside a delta token changes what is tracked from here on.
                let select = given.select.or(wish.select);
                let wish = Wish { select, only: wish.only };
                (draw_up(sim, &directory, kind, wish, Some(from), minimal), 0)
            }
            Ok(_) => return Err(Refusal::bad_request("The token is not one of this request.")),
        },
    };
    let mut body = Map::new();
    let path = if kind == Kind::User { "users" } else { "groups" };
    body.insert("@odata.context".to_owned(), json!(format!("{}/$metadata#{path}", sim.base_url())));
    let dice = &sim.traffic.dice;
    if page + 1 < round.pages.len() {
        let token = Token::Skip { round: Arc::clone(&round), page: page + 1 };
        let link = format!("{}/{path}/delta?$skiptoken={}", sim.base_url(), rounds.issue(token, now, dice));
        body.insert("@odata.nextLink".to_owned(), json!(link));
    } else {
        let token = Token::Delta { kind, wish: round.wish.clone(), from: round.end };
        let link = format!("{}/{path}/delta?$deltatoken={}", sim.base_url(), rounds.issue(token, now, dice));
        body.insert("@odata.deltaLink".to_owned(), json!(link));
    }
    body.insert("value".to_owned(), json!(round.pages[page]));
    Ok(Json(Value::Object(body)).into_response())
}

fn live(rounds: &Rounds, name: &str, now: Timestamp) -> Result<Token, DeltaExpiry> {
    match rounds.tokens.get(name) {
        Some((_, _, Some(how))) => Err(*how),
        Some((issued, token, None)) if now < *issued + TOKEN_LIFETIME => Ok(token.clone()),
        _ => Err(DeltaExpiry::SyncStateNotFound),
    }
}

fn expired(sim: &Tenant, kind: Kind, how: DeltaExpiry) -> Answer {
    let message = "The sync state generation is not found. The delta token is expired and data must be synchronized again.";
    match how {
        DeltaExpiry::SyncStateNotFound => {
            Err(Refusal::new(StatusCode::BAD_REQUEST, "syncStateNotFound", message))
        }
        DeltaExpiry::Gone => {
            let path = if kind == Kind::User { "users" } else { "groups" };
            let location = format!("{}/{path}/delta?$deltatoken=", sim.base_url());
            let mut answer = Refusal::new(StatusCode::GONE, "resyncRequired", message).into_response();
            let location = HeaderValue::from_str(&location).expect("our own address is a header value");
            answer.headers_mut().insert(header::LOCATION, location);
            Ok(answer)
        }
    }
}

fn wish(kind: Kind, query: &[(String, String)]) -> Result<Wish, Refusal> {
    // Relations may be selected here, and here only.
    let relations = if kind == Kind::User { ["manager", ""] } else { ["members", "owners"] };
    let mut plain = query.to_vec();
    let mut selected_relations = Vec::new();
    for (name, value) in &mut plain {
        if name == "$select" {
            let (related, own): (Vec<&str>, Vec<&str>) =
                value.split(',').map(str::trim).partition(|name| relations.contains(name));
            selected_relations = related.into_iter().map(str::to_owned).collect();
            *value = own.join(",");
        }
    }
    plain.retain(|(name, value)| name != "$select" || !value.is_empty());
    let mut select = users::select(kind, &plain)?;
    if !selected_relations.is_empty() {
        select.get_or_insert_default().extend(selected_relations);
    }
    let only = match first(query, "$filter") {
        None => None,
        Some(filter) => Some(filtered(filter).ok_or_else(|| {
            Refusal::bad_request(
                "The filter of a delta query names at most 50 objects: id eq 'a' or id eq 'b'.",
            )
        })?),
    };
    Ok(Wish { select, only })
}

fn filtered(filter: &str) -> Option<BTreeSet<String>> {
    let ids = filter.split(" or ").map(|term| {
        let id = term.trim().strip_prefix("id eq '")?.strip_suffix('\'')?;
        (!id.contains('\'')).then(|| id.to_ascii_lowercase())
    });
    let ids: BTreeSet<String> = ids.collect::<Option<_>>()?;
    (ids.len() <= MAX_FILTERED).then_some(ids)
}
