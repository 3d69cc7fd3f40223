//! The idempotent function.

use std::sync::Arc;
use std::time::Duration;

use idem_runtime::{OnInterrupt, current, idempotent};
use serde::{Deserialize, Serialize};

use crate::gateway::Gateway;

/// The body of a request.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Order {
    pub(crate) order: String,
    pub(crate) cents: u64,
}

/// The body of the response to the first request and to every retry.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Receipt {
    pub(crate) number: String,
    pub(crate) cents: u64,
}

/// The state that all requests share.
#[derive(Debug)]
pub(crate) struct Shop {
    pub(crate) gateway: Gateway,
    pub(crate) wait: Duration,
    pub(crate) on_interrupt: OnInterrupt,
}

/// Charges once per key. The gateway gets the token of the call, which is equal at every attempt.
///
/// Two clients can choose equal keys. If requests belong to accounts, use the key `(account, key)`. A failed gateway
/// can have charged, so an `Err` leaves the call in doubt.
#[idempotent(
    name = "payments.charge",
    key = key,
    skip(shop),
    on_err = in_doubt,
    on_interrupt = shop.on_interrupt,
    wait = shop.wait,
    detach
)]
pub(crate) async fn charge(
    shop: Arc<Shop>,
    key: Option<String>,
    order: Order,
) -> Result<Receipt, ChargeError> {
    let token = current().map(|call| call.token()).unwrap_or_default();
    shop.gateway.charge(&token, &order).await.map_err(|error| ChargeError::Gateway(error.to_string()))
}

/// The error of a charge. `answer` turns it into a response.
#[derive(Debug)]
pub(crate) enum ChargeError {
    /// The call was refused, or its record could not be written.
    Refused(idem_runtime::Error),
    /// The gateway failed.
    Gateway(String),
}

impl From<idem_runtime::Error> for ChargeError {
    fn from(error: idem_runtime::Error) -> Self {
        Self::Refused(error)
    }
}
