//! The server as clients see it: a real process, and real connections.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test ends at the first surprise"
)]

mod server;

use std::path::Path;
use std::time::Duration;

use crate::server::{Request, Response, Server};

const LAMP: &str = r#"{"order":"lamp","cents":1250}"#;
const RECEIPT: &str = r#"{"number":"R-1","cents":1250}"#;

/// Returns the number of charges that the gateway has booked.
fn charges(folder: &Path) -> usize {
    std::fs::read_to_string(folder.join("ledger.tsv")).unwrap_or_default().lines().count()
}

fn expect_receipt(response: &Response, replayed: &str) {
    assert_eq!((response.status, response.body.as_str()), (200, RECEIPT), "{response:?}");
    assert_eq!(response.header("idempotent-replayed"), Some(replayed), "{response:?}");
}

#[test]
fn a_client_that_gives_up_and_retries_gets_the_receipt_of_its_first_request() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path(), &["--work-ms", "4000"]);
    let first = server.send(Some("A-1"), LAMP);
    assert!(first.response(Duration::from_millis(500)).is_err(), "the server was too fast to give up on");
    assert_eq!(charges(folder.path()), 0, "the first request is over already");

    expect_receipt(&server.charge(Some("A-1"), LAMP), "true");
    assert_eq!(charges(folder.path()), 1);
    assert_eq!(server.hear("asked for "), "lamp");
    assert_eq!(server.hear("booked "), "lamp");
}

#[test]
fn a_charge_whose_client_is_gone_is_made_though_nobody_asks_again() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path(), &["--work-ms", "400"]);
    let request = server.send(Some("A-1"), LAMP);
    server.hear("asked for ");
    drop(request);
    server.hear("booked ");
    expect_receipt(&server.charge(Some("A-1"), LAMP), "true");
    assert_eq!(charges(folder.path()), 1);
}

#[test]
fn fifty_duplicates_at_once_are_one_charge() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path(), &["--work-ms", "2000"]);
    let requests: Vec<Request> = (0..50).map(|_| server.send(Some("A-1"), LAMP)).collect();
    assert_eq!(charges(folder.path()), 0, "the first request is over already");
    let responses: Vec<Response> =
        requests.into_iter().map(|request| request.response(Duration::from_secs(60)).unwrap()).collect();
    let first = responses.iter().filter(|response| response.header("idempotent-replayed") == Some("false"));
    assert_eq!(first.count(), 1);
    for response in &responses {
        assert_eq!((response.status, response.body.as_str()), (200, RECEIPT), "{response:?}");
    }
    assert_eq!(charges(folder.path()), 1);
}

#[test]
fn a_key_used_for_another_order_is_422() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path(), &[]);
    expect_receipt(&server.charge(Some("A-1"), LAMP), "false");
    let refused = server.charge(Some("A-1"), r#"{"order":"lamp","cents":9900}"#);
    assert_eq!(refused.status, 422, "{refused:?}");
    assert!(refused.error().contains("`order` differs"), "{refused:?}");
    assert_eq!(charges(folder.path()), 1);
}

#[test]
fn a_request_without_a_usable_key_is_400() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path(), &[]);
    let long = "k".repeat(1_025);
    for key in [None, Some(""), Some(long.as_str())] {
        let refused = server.charge(key, LAMP);
        assert_eq!(refused.status, 400, "{refused:?}");
        assert!(refused.error().contains("key"), "{refused:?}");
    }
    assert_eq!(charges(folder.path()), 0);
}

#[test]
fn a_retry_that_does_not_wait_is_409_and_told_when_to_come_back() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path(), &["--work-ms", "3000", "--wait-ms", "0"]);
    let first = server.send(Some("A-1"), LAMP);
    server.hear("asked for ");
    let refused = server.charge(Some("A-1"), LAMP);
    assert_eq!(refused.status, 409, "{refused:?}");
    let seconds: u64 = refused.header("retry-after").unwrap().parse().unwrap();
    assert!(seconds >= 1, "{refused:?}");

    expect_receipt(&first.response(Duration::from_secs(60)).unwrap(), "false");
    expect_receipt(&server.charge(Some("A-1"), LAMP), "true");
    assert_eq!(charges(folder.path()), 1);
}

/// Kills the server when it prints `moment` during a first request.
fn kill_at(moment: &str, folder: &Path) {
    let server = Server::start(folder, &["--work-ms", "4000"]);
    let request = server.send(Some("A-1"), LAMP);
    server.hear(moment);
    server.kill();
    let cut_off = request.response(Duration::from_secs(60));
    assert!(cut_off.is_err(), "the server answered before it was killed: {cut_off:?}");
}

#[test]
fn after_kill_9_a_retry_charges_once_under_the_same_token() {
    for (moment, booked) in [("asked for ", 0), ("booked ", 1)] {
        let folder = tempfile::tempdir().unwrap();
        kill_at(moment, folder.path());
        assert_eq!(charges(folder.path()), booked);

        let server = Server::start(folder.path(), &[]);
        expect_receipt(&server.charge(Some("A-1"), LAMP), "false");
        expect_receipt(&server.charge(Some("A-1"), LAMP), "true");
        assert_eq!(charges(folder.path()), 1, "killed at `{moment}`");
    }
}

#[test]
fn after_kill_9_a_server_that_refuses_leaves_the_charge_in_doubt() {
    let folder = tempfile::tempdir().unwrap();
    kill_at("asked for ", folder.path());
    let server = Server::start(folder.path(), &["--on-interrupt", "refuse"]);
    for _retry in 0..2 {
        let refused = server.charge(Some("A-1"), LAMP);
        assert_eq!((refused.status, refused.header("retry-after")), (409, None), "{refused:?}");
        assert!(refused.error().contains("in doubt"), "{refused:?}");
    }
    assert_eq!(charges(folder.path()), 0);
}

#[test]
fn a_receipt_outlives_kill_9() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path(), &[]);
    expect_receipt(&server.charge(Some("A-1"), LAMP), "false");
    server.kill();
    let server = Server::start(folder.path(), &["--on-interrupt", "refuse"]);
    expect_receipt(&server.charge(Some("A-1"), LAMP), "true");
    assert_eq!(charges(folder.path()), 1);
}

#[cfg(unix)]
#[test]
fn a_server_that_ends_in_good_order_finishes_what_its_clients_gave_up() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path(), &["--work-ms", "1000"]);
    let request = server.send(Some("A-1"), LAMP);
    server.hear("asked for ");
    drop(request);
    server.interrupt();
    assert_eq!(charges(folder.path()), 1);

    let server = Server::start(folder.path(), &["--on-interrupt", "refuse"]);
    expect_receipt(&server.charge(Some("A-1"), LAMP), "true");
}
