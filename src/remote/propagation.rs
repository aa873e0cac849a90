//! One poll of which version handles conversations (C4).

use jiff::Timestamp;

use super::Remote;
use super::failure::Failure;
use crate::engine::propagation::{Verdict, judge};
use crate::genesys::Session;

/// Asks for conversations on `version`, then, where there are none, for any: the filtered query cannot tell "none" from
/// "only on older versions". `ours` are the versions known to hold the declared content.
pub async fn poll<K: Remote>(
    session: &mut Session,
    id: &str,
    version: &str,
    ours: &[&str],
    window: (Timestamp, Timestamp),
) -> Result<Verdict, Failure> {
    let what = format!("conversations of {id}");
    let failed = |error| Failure::of(&error, &what, false);
    let rows = K::conversations(session, id, Some(version), window).await.map_err(failed)?;
    if judge(rows.iter().map(String::as_str), ours) == Verdict::Verified {
        return Ok(Verdict::Verified);
    }
    let rows = K::conversations(session, id, None, window).await.map_err(failed)?;
    Ok(judge(rows.iter().map(String::as_str), ours))
}
