//! What the target says of itself: its schemas and its configuration (RFC 7643, 5 and 7). NICE publishes
//! `/Schemas` and no `/ServiceProviderConfig`; neither is needed for the work, so that one which is not
//! there, or makes no sense, is no failure but says nothing.

use std::collections::BTreeSet;

use serde_json::{Map, Value as Json};

use super::place::{CORE, EXTENSION, Place, lookup, place};
use super::wire::entries;
use super::{Cxone, unsuccessful};
use crate::cxone::Error;
use crate::domain::observed::Observed;
use crate::domain::user::Attribute;
use crate::outbound::{Method, Request, Response, StatusCode};

/// What the target says it can do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Provider {
    /// `None`: it does not say.
    pub patch: Option<bool>,
    pub filter: Option<bool>,
}

impl Cxone {
    /// Which of the attributes we know the target's schemas describe. Absent: it shows none.
    pub async fn described(&self) -> Result<Observed<BTreeSet<Attribute>>, Error> {
        let answer = self.described_at("Schemas").await?;
        Ok(match answer.and_then(|answer| attributes(&answer)) {
            Some(found) => Observed::Present(found),
            None => Observed::Absent,
        })
    }

    /// What the target says it supports. Absent: it does not say.
    pub async fn provider(&self) -> Result<Observed<Provider>, Error> {
        let answer = self.described_at("ServiceProviderConfig").await?;
        let said = |answer: &Map<String, Json>, name: &str| {
            lookup(lookup(answer, name)?.as_object()?, "supported")?.as_bool()
        };
        Ok(match answer {
            Some(Json::Object(answer)) => {
                let (patch, filter) = (said(&answer, "patch"), said(&answer, "filter"));
                Observed::Present(Provider { patch, filter })
            }
            _ => Observed::Absent,
        })
    }

    /// JSON, if the target serves this path and says so with 200.
    async fn described_at(&self, path: &'static str) -> Result<Option<Json>, Error> {
        let response: Response = self.send(Request::new(Method::GET, self.inner.scim.url([path]))).await?;
        match response.status {
            StatusCode::OK => Ok(serde_json::from_slice(&response.body).ok()),
            // Not offered, or not to us.
            status if status.is_client_error() || status == StatusCode::NOT_IMPLEMENTED => Ok(None),
            _ => Err(unsuccessful(&response, "its description")),
        }
    }
}

/// Our attributes among those of the schemas for users; `None` when there is no such schema.
fn attributes(answer: &Json) -> Option<BTreeSet<Attribute>> {
    let schemas = match answer {
        Json::Array(schemas) => schemas.as_slice(),
        Json::Object(list) => entries(list, "Resources").ok()?,
        _ => return None,
    };
    let named = |urn: &str| -> Option<BTreeSet<String>> {
        let schema = schemas.iter().filter_map(Json::as_object).find(|schema| {
            lookup(schema, "id").and_then(Json::as_str).is_some_and(|id| id.eq_ignore_ascii_case(urn))
        })?;
        let attributes = entries(schema, "attributes").ok()?.iter();
        let name = |attribute: &Json| Some(lookup(attribute.as_object()?, "name")?.as_str()?.to_lowercase());
        Some(attributes.filter_map(name).collect())
    };
    let core = named(CORE)?;
    let extension = named(EXTENSION).unwrap_or_default();
    let is_described = |attribute: &Attribute| match place(*attribute) {
        Place::Text(name) | Place::Flag(name) | Place::Entry(name) => core.contains(&name.to_lowercase()),
        Place::Name(_) => core.contains("name"),
        Place::Extension(name) => extension.contains(&name.to_lowercase()),
        Place::Roles => core.contains("roles"),
    };
    Some(Attribute::ALL.into_iter().filter(is_described).collect())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::cxone::tests::{answer, target};

    async fn described(status: u16, body: &str) -> Result<Observed<BTreeSet<Attribute>>, Error> {
        let body = body.to_owned();
        target(move |_, _| answer(status, &body)).cxone.described().await
    }

    #[tokio::test]
    async fn the_attributes_of_the_user_schemas_are_ours_by_another_name() {
        let names = |names: &[&str]| names.iter().map(|name| json!({ "name": name })).collect::<Vec<_>>();
        let schemas = json!([
            {"id": CORE, "attributes": names(&["userName", "name", "emails", "timeZone", "x"])},
            {"id": EXTENSION, "attributes": names(&["Team"])},
            {"id": "urn:ietf:params:scim:schemas:core:2.0:Group", "attributes": names(&["displayName"])},
        ]);
        let expected = BTreeSet::from([
            Attribute::UserName,
            Attribute::GivenName,
            Attribute::MiddleName,
            Attribute::FamilyName,
            Attribute::Emails,
            Attribute::TimeZone,
            Attribute::Team,
        ]);
        for body in [schemas.to_string(), json!({"totalResults": 3, "Resources": schemas}).to_string()] {
            assert_eq!(described(200, &body).await.unwrap(), Observed::Present(expected.clone()));
        }
    }

    #[tokio::test]
    async fn what_is_not_offered_or_makes_no_sense_says_nothing() {
        for (status, body) in [
            (404, "<html>"),
            (501, ""),
            (403, ""),
            (200, "<html>"),
            (200, "{}"),
            (200, "[]"),
            (200, r#"{"Resources": [{"id": "urn:other", "attributes": []}]}"#),
        ] {
            assert_eq!(described(status, body).await.unwrap(), Observed::Absent, "{status} {body}");
        }
        assert!(described(500, "").await.is_err());
    }

    #[tokio::test]
    async fn what_the_provider_supports_is_read_where_it_is_said() {
        let provider = async |status, body: &'static str| {
            target(move |_, _| answer(status, body)).cxone.provider().await.unwrap().present()
        };
        let body = r#"{"patch": {"supported": false}, "filter": {"supported": true, "maxResults": 9}}"#;
        assert_eq!(provider(200, body).await, Some(Provider { patch: Some(false), filter: Some(true) }));
        assert_eq!(provider(200, "{}").await, Some(Provider { patch: None, filter: None }));
        assert_eq!(provider(404, "<html>").await, None);
        assert_eq!(provider(200, "[]").await, None);
    }
}
