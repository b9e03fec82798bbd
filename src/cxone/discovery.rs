//! Where a tenant lives: NICE's discovery documents, read once.
//! Source: NICE developer portal, "Perform API discovery".

use std::sync::Arc;

use serde::Deserialize;

use crate::clock::Clock;
use crate::outbound::{self, Api, HeaderValue, Method, Request, StatusCode, Transport, Url, header};
use crate::telemetry::Metrics;

const NAME: &str = "cxone-discovery";

/// What discovery found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Discovered {
    pub tenant: String,
    pub token_url: Url,
    /// `{api_endpoint}/scim/v2`. That SCIM lives there is inferred from NICE's other services, not
    /// documented.
    pub scim_url: Url,
}

/// Why discovery found nothing. The messages say what to do.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(
        "the tenant is not known: add it to the address, as in https://cxone.niceincontact.com?tenantId=…, or set scim_url and token_url"
    )]
    NoTenant,
    #[error("cannot read {document} of the issuer")]
    Outbound {
        document: &'static str,
        #[source]
        source: outbound::Error,
    },
    #[error("the issuer answered the request for {document} with status {status}; is the address right?")]
    Status { document: &'static str, status: StatusCode },
    #[error("{document} of the issuer is not what it should be: {what}")]
    Malformed { document: &'static str, what: String },
}

#[derive(Deserialize)]
struct OpenId {
    issuer: Option<String>,
    token_endpoint: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
struct Tenant {
    api_endpoint: String,
    #[serde(rename = "tenantId")]
    tenant_id: Option<String>,
}

/// Asks the issuer, such as `https://cxone.niceincontact.com?tenantId=…`, where tokens are given and
/// where the tenant's API is. The tenant id stands in the claims of any of its tokens.
pub async fn discover(
    issuer: &Url,
    transport: Transport,
    clock: Clock,
    metrics: Arc<Metrics>,
) -> Result<Discovered, Error> {
    let tenant = issuer.query_pairs().find(|(key, _)| key.eq_ignore_ascii_case("tenantId"));
    let tenant = tenant.map(|(_, tenant)| tenant.into_owned()).filter(|tenant| !tenant.is_empty());
    let tenant = tenant.ok_or(Error::NoTenant)?;
    let mut base = issuer.clone();
    base.set_query(None);
    let api = Api::new(NAME, base, transport, 1, clock, metrics);

    let document = "openid-configuration";
    let open_id: OpenId = read(&api, document, None).await?;
    if let Some(claimed) = &open_id.issuer
        && Url::parse(claimed).ok().is_none_or(|claimed| claimed.origin() != issuer.origin())
    {
        // OpenID Connect Discovery 1.0, 4.3: it would speak for somebody else.
        return Err(Error::Malformed { document, what: "it is that of another issuer".to_owned() });
    }
    let token_url = endpoint(&open_id.token_endpoint, issuer, document, "token_endpoint")?;

    let document = "cxone-configuration";
    let configuration: Tenant = read(&api, document, Some(&tenant)).await?;
    if configuration.tenant_id.is_some_and(|found| !found.eq_ignore_ascii_case(&tenant)) {
        return Err(Error::Malformed { document, what: "it is that of another tenant".to_owned() });
    }
    let mut scim_url = endpoint(&configuration.api_endpoint, issuer, document, "api_endpoint")?;
    let segments = scim_url.path_segments_mut();
    segments.expect("an http address has a path").pop_if_empty().extend(["scim", "v2"]);
    Ok(Discovered { tenant, token_url, scim_url })
}

async fn read<T: serde::de::DeserializeOwned>(
    api: &Api,
    document: &'static str,
    tenant: Option<&str>,
) -> Result<T, Error> {
    let mut url = api.url([".well-known", document]);
    if let Some(tenant) = tenant {
        url.query_pairs_mut().append_pair("tenantId", tenant);
    }
    let request =
        Request::new(Method::GET, url).header(header::ACCEPT, HeaderValue::from_static("application/json"));
    let response = api.send(request).await.map_err(|source| Error::Outbound { document, source })?;
    if response.status != StatusCode::OK {
        return Err(Error::Status { document, status: response.status });
    }
    serde_json::from_slice(&response.body)
        .map_err(|error| Error::Malformed { document, what: error.to_string() })
}

/// An address that secrets will be sent to: it must be as well protected as the issuer's own.
fn endpoint(text: &str, issuer: &Url, document: &'static str, field: &str) -> Result<Url, Error> {
    let malformed = |what: &str| Error::Malformed { document, what: format!("{field} {what}") };
    let mut url = Url::parse(text).map_err(|_| malformed("is not an absolute address"))?;
    let is_safe = url.scheme() == "https" || (url.scheme() == "http" && issuer.scheme() == "http");
    if !is_safe || !url.username().is_empty() || url.password().is_some() {
        return Err(malformed("is not a plain https address"));
    }
    url.set_fragment(None);
    Ok(url)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::outbound::{HeaderMap, Response};

    const OPEN_ID: &str = include_str!("../../fixtures/cxone/openid-configuration.json");
    const TENANT: &str = include_str!("../../fixtures/cxone/cxone-configuration.json");
    const ISSUER: &str = "https://cxone.example.com?tenantId=11ee7a10-9999-4a50-9e0b-0242ac110003";

    async fn discovered(
        issuer: &str,
        open_id: (u16, &str),
        tenant: (u16, &str),
    ) -> Result<Discovered, Error> {
        let answers = [open_id, tenant].map(|(status, body)| (status, body.to_owned()));
        let transport = Transport::in_process(move |request| {
            let (status, body) = match request.url.as_str() {
                "https://cxone.example.com/.well-known/openid-configuration" => answers[0].clone(),
                "https://cxone.example.com/.well-known/cxone-configuration?tenantId=11ee7a10-9999-4a50-9e0b-0242ac110003" => {
                    answers[1].clone()
                }
                other => panic!("{other}"),
            };
            let status = StatusCode::from_u16(status).unwrap();
            async move { Ok(Response { status, headers: HeaderMap::new(), body: body.into() }) }
        });
        let clock = Clock::manual(jiff::Timestamp::UNIX_EPOCH);
        discover(&Url::parse(issuer).unwrap(), transport, clock, Metrics::new()).await
    }

    #[tokio::test]
    async fn both_documents_are_read() {
        let found = discovered(ISSUER, (200, OPEN_ID), (200, TENANT)).await.unwrap();
        assert_eq!(found.token_url.as_str(), "https://cxone.example.com/auth/token");
        assert_eq!(found.scim_url.as_str(), "https://api-na1.example.com/scim/v2");
    }

    #[tokio::test]
    async fn what_is_wrong_is_said() {
        #[track_caller]
        fn check(found: Result<Discovered, Error>, message: &str) {
            let error = found.unwrap_err().to_string();
            assert!(error.contains(message), "{error}");
        }
        let ok = (200, TENANT);
        check(discovered("https://cxone.example.com", (200, OPEN_ID), ok).await, "?tenantId=");
        check(discovered(ISSUER, (404, "<html>"), ok).await, "status 404");
        check(discovered(ISSUER, (200, "<html>"), ok).await, "openid-configuration of the issuer is not");
        check(discovered(ISSUER, (200, "{}"), ok).await, "token_endpoint");
        check(discovered(ISSUER, (200, OPEN_ID), (200, "{}")).await, "api_endpoint");
        let other = OPEN_ID.replace("\"issuer\": \"https://cxone", "\"issuer\": \"https://evil");
        check(discovered(ISSUER, (200, &other), ok).await, "another issuer");
        let plain = OPEN_ID.replace("https://cxone.example.com/auth/token", "http://cxone.example.com/t");
        check(discovered(ISSUER, (200, &plain), ok).await, "not a plain https address");
        let tenant = TENANT.replace("11ee7a10-9999", "11ee7a10-8888");
        check(discovered(ISSUER, (200, OPEN_ID), (200, &tenant)).await, "another tenant");
        for end in 0..OPEN_ID.trim_end().len() {
            assert!(discovered(ISSUER, (200, &OPEN_ID[..end]), ok).await.is_err());
        }
    }
}
