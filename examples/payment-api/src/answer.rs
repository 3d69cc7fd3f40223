//! What a client is told when there is no receipt.
//!
//! | status | when | the client |
//! |---|---|---|
//! | 400 | the key is missing, empty or too long | sends one |
//! | 409 with `Retry-After` | the first request still runs | asks again |
//! | 409 | the charge is in doubt | waits for a person to settle it |
//! | 410 | done; the receipt is not kept any longer | stops asking |
//! | 422 | the key was used for another order | takes another key |
//! | 500 | the program or the record is at fault | tells the operator |
//! | 502 | the gateway failed | asks again |
//! | 503 | the store cannot be used | asks again |

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
        ErrorKind::Store => StatusCode::SERVICE_UNAVAILABLE,
        _ => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

/// What is the server's fault is for its operator to read: it may name files and hosts.
fn problem(status: StatusCode, text: String) -> Response {
    let error = if status.is_server_error() {
        eprintln!("payment-api: {text}");
        "the charge could not be made or recorded; the operator has been told".to_owned()
    } else {
        text
    };
    (status, Json(Problem { error })).into_response()
}

/// Rounded up: a client that comes back too early comes in vain.
fn seconds(after: Duration) -> u64 {
    after.as_millis().div_ceil(1_000).try_into().unwrap_or(u64::MAX).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retry_after_is_in_whole_seconds_and_never_now() {
        let seconds = |ms| seconds(Duration::from_millis(ms));
        assert_eq!([seconds(0), seconds(1), seconds(1_000), seconds(1_001)], [1, 1, 1, 2]);
    }

    #[test]
    fn the_servers_own_failures_are_not_shown_to_clients() {
        let response = problem(StatusCode::SERVICE_UNAVAILABLE, "`/srv/idem.db` is full".to_owned());
        assert_eq!(response.status(), 503);
        let shown = format!("{response:?}");
        assert!(!shown.contains("idem.db"), "{shown}");
    }
}
