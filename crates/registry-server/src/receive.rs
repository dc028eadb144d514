//! The bodies of requests: taken in pieces, each of which must come within a time.

use std::time::Duration;

use bytes::Bytes;
use hyper::body::{Body as _, Incoming};

use crate::failure::{Code, Failure, Result};

/// How long a client may be silent in the middle of a body.
pub const SILENCE: Duration = Duration::from_secs(60);
/// Bytes that are gathered before they are written.
const PIECE: usize = 256 * 1024;
/// Bytes that are read of a body that nobody wants, so that the client sees the answer.
const UNWANTED: usize = 256 * 1024;

/// The next bytes of a body; `None` at its end.
///
/// # Errors
/// The client is silent, or gone.
async fn frame(body: &mut Incoming) -> Result<Option<Bytes>> {
    loop {
        let next = std::future::poll_fn(|context| std::pin::Pin::new(&mut *body).poll_frame(context));
        let frame = tokio::time::timeout(SILENCE, next).await;
        let frame = frame.map_err(|_| broken("the client was silent for too long"))?;
        match frame.transpose().map_err(|_| broken("the body ends too early"))? {
            None => return Ok(None),
            Some(frame) => {
                if let Ok(data) = frame.into_data() {
                    return Ok(Some(data));
                }
            }
        }
    }
}

/// The next bytes of a body, as many as are worth being written at once, into `pieces`; whether more may come. What came
/// is there also if this fails.
///
/// # Errors
/// The client is silent, or gone.
pub async fn gather(body: &mut Incoming, pieces: &mut Vec<Bytes>) -> Result<bool> {
    let mut size = 0;
    while size < PIECE {
        let Some(data) = frame(body).await? else { return Ok(false) };
        size += data.len();
        pieces.push(data);
    }
    Ok(true)
}

/// All of a body of at most `limit` bytes; `None` if there are more.
///
/// # Errors
/// The client is silent, or gone.
pub async fn whole(body: &mut Incoming, limit: usize) -> Result<Option<Vec<u8>>> {
    let announced = body.size_hint().exact().and_then(|size| usize::try_from(size).ok());
    if announced.is_some_and(|size| size > limit) {
        return Ok(None);
    }
    let mut whole = Vec::with_capacity(announced.unwrap_or(0));
    while let Some(data) = frame(body).await? {
        if whole.len() + data.len() > limit {
            return Ok(None);
        }
        whole.extend_from_slice(&data);
    }
    Ok(Some(whole))
}

/// Reads what is left of a body that nobody wants, if it is little: a client that still writes would not see the answer.
pub async fn discard(body: &mut Incoming) {
    let mut size = 0;
    while size < UNWANTED {
        let next = tokio::time::timeout(Duration::from_secs(2), frame(body)).await;
        let Ok(Ok(Some(data))) = next else { return };
        size += data.len();
    }
}

fn broken(message: &str) -> Failure {
    Failure::new(Code::BlobUploadInvalid, message)
}
