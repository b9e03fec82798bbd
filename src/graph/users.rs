//! Reading users one by one: live ones, and those among the deleted items.

use serde_json::Value as Json;
use sha2::{Digest, Sha256};

use super::selection::{Selection, read_id};
use super::wire::{Fault, Object};
use super::{Error, Graph};
use crate::domain::digest::hex;
use crate::domain::evidence::DeletedItem;
use crate::domain::observed::Observed;
use crate::domain::user::{SourceUser, UserId, Value};
use crate::outbound::{Response, StatusCode};

pub(super) const READ_USER: &str = "read a user";
const READ_DELETED: &str = "read a deleted item";

impl Graph {
    /// Reads one user. Calls made at the same moment travel in one `$batch`.
    pub async fn user(&self, id: UserId) -> Result<Observed<SourceUser>, Error> {
        self.read_in_batch(id).await
    }

    /// Reads one user by its `userPrincipalName`, or by its id.
    pub async fn user_by_name(&self, name: &str) -> Result<Observed<SourceUser>, Error> {
        if let Ok(id) = name.parse() {
            return self.user(id).await;
        }
        // No user can have such a name, and in a path it would be something else.
        let odd = |c: char| c.is_control() || c.is_whitespace() || matches!(c, '/' | '\\' | '%');
        if name.is_empty() || name.len() > 1024 || name.chars().any(odd) || name.chars().all(|c| c == '.') {
            return Ok(Observed::Absent);
        }
        // A path segment that begins with `$` would be a system resource such as `$count`.
        let quoted = format!("users('{}')", name.replace('\'', "''"));
        let segments = if name.starts_with('$') { vec![quoted.as_str()] } else { vec!["users", name] };
        let response = self.get(READ_USER, self.url(segments, self.selection.query())).await?;
        read_user(&self.selection, &response, None)
    }

    /// Looks among the deleted items of the directory, where users stay for 30 days.
    pub async fn deleted_item(&self, id: UserId) -> Result<Observed<DeletedItem>, Error> {
        let url = self.url(["directory", "deletedItems", &id.to_string()], "$select=id");
        let response = self.get(READ_DELETED, url).await?;
        if is_absent(&response) {
            return Ok(Observed::Absent);
        }
        if response.status != StatusCode::OK {
            return Err(Error::refusal(READ_DELETED, &response));
        }
        let object = read_object(READ_DELETED, &response.body)?;
        let kind = object.get("@odata.type").and_then(Json::as_str);
        if kind.is_some_and(|kind| !kind.eq_ignore_ascii_case("#microsoft.graph.user")) {
            return Err(Error::malformed(READ_DELETED, "the item is not a user"));
        }
        read_id(READ_DELETED, &object, Some(id))?;
        Ok(Observed::Present(DeletedItem { id }))
    }
}

/// What an answer says, be it of a GET or of an item in a batch.
pub(super) fn read_user(
    selection: &Selection,
    response: &Response,
    asked: Option<UserId>,
) -> Result<Observed<SourceUser>, Error> {
    if is_absent(response) {
        return Ok(Observed::Absent);
    }
    if response.status != StatusCode::OK {
        return Err(Error::refusal(READ_USER, response));
    }
    let object = read_object(READ_USER, &response.body)?;
    selection.read(READ_USER, &object, asked).map(Observed::Present)
}

/// Only the directory's own words count: a 404 of a proxy or of a wrong path proves nothing, and
/// `Directory_ObjectNotFound` is also said of the tenant.
pub(super) fn is_absent(response: &Response) -> bool {
    response.status == StatusCode::NOT_FOUND
        && Fault::read(&response.body).is_some_and(|fault| fault.says("Request_ResourceNotFound"))
}

fn read_object(doing: &'static str, body: &[u8]) -> Result<Object, Error> {
    serde_json::from_slice(body).map_err(|_| Error::malformed(doing, "the answer is not a whole JSON object"))
}

/// A digest of everything read of a user: equal exactly when nothing that a mapping can see
/// differs. Hexadecimal SHA-256; the order within a list does not count.
pub fn fingerprint(user: &SourceUser) -> String {
    let mut hash = Sha256::new();
    let mut feed = |tag: u8, bytes: &[u8]| {
        // Lengths keep ("ab", "c") and ("a", "bc") apart.
        hash.update([tag]);
        hash.update((bytes.len() as u64).to_le_bytes());
        hash.update(bytes);
    };
    feed(b'e', &[u8::from(user.enabled)]);
    for (name, value) in &user.properties {
        feed(b'n', name.as_bytes());
        match value {
            Value::Flag(flag) => feed(b'f', &[u8::from(*flag)]),
            Value::Text(text) => feed(b't', text.as_bytes()),
            Value::List(items) => {
                feed(b'l', &(items.len() as u64).to_le_bytes());
                let mut items: Vec<&str> = items.iter().map(String::as_str).collect();
                items.sort_unstable();
                items.iter().for_each(|item| feed(b't', item.as_bytes()));
            }
        }
    }
    hex(&hash.finalize())
}

#[cfg(test)]
mod tests;
