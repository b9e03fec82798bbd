//! How the world reaches us: the public webhook, and the private listener with the admin API,
//! health and metrics.
//!
//! With `sim`, the only module that names axum. `listener` brings connections, `webhook` and `private` are
//! the two routers, `api` has the handlers of the admin API, `dashboard` the pages, and `operations` the way
//! from there to what needs Graph, CXone or the worker.

pub mod listener;
pub mod webhook;

pub mod operations;
pub mod private;

mod api;
mod body;
mod dashboard;
mod handshake;
mod pieces;
mod wire;

use std::io;

pub use axum::Router;
use axum::body::Body;
use axum::http::{self, HeaderValue, header};
use futures_util::TryStreamExt as _;
use tower::ServiceExt;

use crate::outbound;
pub use operations::{Operation, OperationError, Operations, Whom};
pub use private::{Access, AdminToken, PrivateState, private_router};
pub use webhook::{PublicState, public_router};

/// Answers requests by calling `router` in this process: for commands that run without the service,
/// and for tests. Made for [`outbound::Transport::in_process`].
pub fn in_process(router: Router) -> impl Fn(outbound::Request) -> InProcess + Clone + Send + Sync + 'static {
    move |request| Box::pin(call(router.clone(), request))
}

type InProcess = futures_util::future::BoxFuture<'static, Result<outbound::Answer, io::Error>>;

async fn call(router: Router, request: outbound::Request) -> Result<outbound::Answer, io::Error> {
    let target = match request.url.query() {
        Some(query) => format!("{}?{query}", request.url.path()),
        None => request.url.path().to_owned(),
    };
    let mut call = http::Request::builder()
        .method(request.method)
        .uri(target)
        .body(Body::from(request.body))
        .map_err(io::Error::other)?;
    *call.headers_mut() = request.headers;
    let host = request.url.host_str().and_then(|host| HeaderValue::from_str(host).ok());
    if let Some(host) = host {
        call.headers_mut().entry(header::HOST).or_insert(host);
    }
    let Ok(answer) = router.oneshot(call).await;
    let (parts, body) = answer.into_parts();
    let body = Box::pin(body.into_data_stream().map_err(io::Error::other));
    Ok(outbound::Answer { status: parts.status, headers: parts.headers, body })
}
