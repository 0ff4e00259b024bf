//! Who comes: the users and the tokens of the fixtures.

use serde_json::Value;

use crate::{
    bench::{Bench, User},
    expect::{Fault, Outcome},
    fixtures,
};

/// The sentences that the fixtures' tokens are about, but for AUTH-25: what is too large for a token may be too large for a request.
pub(crate) const FIXTURES: [&str; 11] = [
    "AUTH-01", "AUTH-03", "AUTH-06", "AUTH-07", "AUTH-08", "AUTH-09", "AUTH-10", "AUTH-11", "AUTH-12", "AUTH-13",
    "AUTH-26",
];

/// The users of one group of `fixtures/users.json`, but for those whom the target refuses to have: they meet nobody.
pub(crate) async fn group(t: &Bench, group: &Value) -> Outcome<Vec<User>> {
    let n = format!("u{}", t.random(11).to_lowercase());
    let mut users = Vec::new();
    t.transcript().note(format!("users {}: {}", group["name"], group["why"]));
    for id in group["ids"].as_array().into_iter().flatten() {
        let id = fixtures::fill(id, &[("n", &n)]);
        match t.user_named(id.as_str().unwrap_or_default()).await {
            Ok(user) => users.push(user),
            Err(Fault::Mismatch { actual, .. }) if id.as_str() != Some(&n) => {
                t.transcript().note(format!("no session for the user {id}: {actual}"));
            }
            Err(fault) => return Err(fault),
        }
    }
    Ok(users)
}
