//! The HTTP responses for errors.
//!
//! | status | reason | action of the client |
//! |---|---|---|
//! | 400 | the key is missing, empty or too long | sends a valid key |
//! | 409 with `Retry-After` | the first request still runs | retries |
//! | 409 | the charge is in doubt | waits until a person settles it |
//! | 410 | the charge is done, its receipt is no longer kept | stops |
//! | 422 | the key belongs to another order | uses another key |
//! | 500 | a fault of the program or the record | informs the operator |
//! | 502 | the gateway failed | retries |
//! | 503 | the store is unavailable | retries |

use std::time::Duration;

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use idem_runtime::ErrorKind;
use serde::Serialize;

use crate::charge::ChargeError;

#[derive(Debug, Serialize)]
struct Problem {
    error: String,
}

impl IntoResponse for ChargeError {
    fn into_response(self) -> Response {
        match self {
            Self::Refused(error) => refused(&error),
            Self::Gateway(text) => problem(StatusCode::BAD_GATEWAY, text),
        }
    }
}

fn refused(error: &idem_runtime::Error) -> Response {
    let mut response = problem(status(error.kind()), error.to_string());
    if let Some(after) = error.retry_after() {
        response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds(after)));
    }
    response
}

fn status(kind: ErrorKind) -> StatusCode {
    match kind {
        ErrorKind::BadKey | ErrorKind::BadArgument => StatusCode::BAD_REQUEST,
        ErrorKind::Running | ErrorKind::InDoubt => StatusCode::CONFLICT,
        ErrorKind::ResultGone => StatusCode::GONE,
        ErrorKind::Mismatch => StatusCode::UNPROCESSABLE_ENTITY,
        ErrorKind::Store
        | ErrorKind::DiskFull
        | ErrorKind::LostRecords
        | ErrorKind::Damaged
        | ErrorKind::Replaced => StatusCode::SERVICE_UNAVAILABLE,
        _ => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

/// Returns a response with an error text. Only the operator sees the text of a server error: it can name files and
/// hosts.
fn problem(status: StatusCode, text: String) -> Response {
    let error = if status.is_server_error() {
        eprintln!("payment-api: {text}");
        "the charge could not be made or recorded; the operator is informed".to_owned()
    } else {
        text
    };
    (status, Json(Problem { error })).into_response()
}

/// Rounds up to seconds, because an early retry fails.
fn seconds(after: Duration) -> u64 {
    after.as_millis().div_ceil(1_000).try_into().unwrap_or(u64::MAX).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retry_after_is_at_least_one_second() {
        let seconds = |ms| seconds(Duration::from_millis(ms));
        assert_eq!([seconds(0), seconds(1), seconds(1_000), seconds(1_001)], [1, 1, 1, 2]);
    }

    #[test]
    fn clients_do_not_see_the_text_of_server_errors() {
        let response = problem(StatusCode::SERVICE_UNAVAILABLE, "`/srv/idem.db` is full".to_owned());
        assert_eq!(response.status(), 503);
        let shown = format!("{response:?}");
        assert!(!shown.contains("idem.db"), "{shown}");
    }
}
