//! Reading a request's body without letting anybody fill our memory.

use std::sync::Arc;

use axum::body::{Body, Bytes};
use bytes::BytesMut;
use http_body_util::BodyExt;
use hyper::body::Body as _;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Up to so many bytes beyond the limit are read and thrown away, so that the client is still there
/// to hear that it sent too much.
const PATIENCE_BYTES: u64 = 4 << 20;

/// The client took too long to send its body. The listener's, found again among the causes of an
/// [`axum::Error`].
#[derive(Debug, thiserror::Error)]
#[error("the body took too long to arrive")]
pub struct TimedOut;

#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum BodyError {
    #[error("the body is larger than {limit} bytes")]
    TooLarge { limit: usize },
    #[error("the body took too long to arrive")]
    TimedOut,
    #[error("the body broke off")]
    BrokenOff,
    #[error("too many bodies are being read")]
    Busy,
}

/// The bytes of all bodies that are in memory at once.
#[derive(Clone, Debug)]
pub struct Budget(Arc<Semaphore>);

impl Budget {
    pub fn of_bytes(bytes: usize) -> Self {
        Self(Arc::new(Semaphore::new(bytes)))
    }
}

/// A whole body, which counts against the budget until it is dropped.
#[derive(Debug)]
pub struct Whole {
    pub bytes: Bytes,
    _counted: Option<OwnedSemaphorePermit>,
}

/// Reads a body of at most `limit` bytes. What arrives counts against the budget as it arrives, not
/// as it is announced: announcing costs nothing.
pub async fn read(mut body: Body, limit: usize, budget: &Budget) -> Result<Whole, BodyError> {
    let announced = body.size_hint().lower();
    if announced > limit as u64 {
        if announced <= limit as u64 + PATIENCE_BYTES {
            discard(body, announced).await;
        }
        return Err(BodyError::TooLarge { limit });
    }
    let mut bytes = BytesMut::new();
    let mut counted: Option<OwnedSemaphorePermit> = None;
    while let Some(frame) = body.frame().await {
        // Trailers say nothing to us.
        let Ok(chunk) = frame.map_err(|error| why(&error))?.into_data() else { continue };
        if bytes.len() + chunk.len() > limit {
            drop((bytes, counted));
            discard(body, PATIENCE_BYTES).await;
            return Err(BodyError::TooLarge { limit });
        }
        let n = u32::try_from(chunk.len()).map_err(|_| BodyError::Busy)?;
        let more = budget.0.clone().try_acquire_many_owned(n).map_err(|_| BodyError::Busy)?;
        match &mut counted {
            Some(counted) => counted.merge(more),
            None => counted = Some(more),
        }
        bytes.extend_from_slice(&chunk);
    }
    Ok(Whole { bytes: bytes.freeze(), _counted: counted })
}

async fn discard(mut body: Body, at_most: u64) {
    let mut seen = 0;
    while seen < at_most
        && let Some(Ok(frame)) = body.frame().await
    {
        seen += frame.data_ref().map_or(0, |chunk| chunk.len() as u64);
    }
}

fn why(error: &axum::Error) -> BodyError {
    let causes = std::iter::successors(Some(error as &(dyn std::error::Error + 'static)), |e| e.source());
    if causes.into_iter().any(|cause| cause.is::<TimedOut>()) {
        BodyError::TimedOut
    } else {
        BodyError::BrokenOff
    }
}
