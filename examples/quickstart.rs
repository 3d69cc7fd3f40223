//! Charges an order once, even if its request arrives several times.

use idem_runtime::{ErrorKind, Store, idempotent};
use serde::{Deserialize, Serialize};

#[derive(Serialize)]
struct Order {
    id: String,
    cents: u64,
}

#[derive(Debug, Serialize, Deserialize)]
struct Receipt {
    charged: u64,
}

#[idempotent(name = "shop.charge", key = order.id)]
fn charge(order: &Order) -> Result<Receipt, idem_runtime::Error> {
    eprintln!("charging {}", order.id);
    Ok(Receipt { charged: order.cents })
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let folder = tempfile::tempdir()?; // Yours stays: `Store::open("idem.db")`.
    let store = Store::open(folder.path().join("idem.db"))?;
    idem_runtime::init(store.clone())?;
    let order = Order { id: "A-1".into(), cents: 1250 };

    let first = charge(&order)?; // Runs the body and records its result.
    let again = charge(&order)?; // Replays the result; the body does not run.
    assert_eq!(first.charged, again.charged);

    // The same id with another amount is a mistake, and is refused as one.
    let other = charge(&Order { cents: 9999, ..order });
    assert!(other.is_err_and(|error| error.kind() == ErrorKind::Mismatch));

    store.close()?;
    Ok(())
}
