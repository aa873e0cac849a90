//! Calls of `PromptTemplate`: P1 and P2.

use std::time::Duration;

use jiff::Timestamp;
use serde_json::Value;
use tokio::time::Instant;

use super::{Look, Remote, Sent};
use crate::api::PromptTemplate;
use crate::engine::{Guard, Step, Target};
use crate::genesys::prompts::{self, AbHeader, VersionPage};
use crate::genesys::{Document, Error, ErrorKind, Gate, Session};

/// No template has more pages than that; a server that says so is not followed for ever.
const MAX_PAGES: u32 = 1000;
/// A look over several pages that took no longer shows what is live now.
const SCANNED_AT_ONCE: Duration = Duration::from_secs(2);

impl Remote for PromptTemplate {
    async fn read(session: &mut Session, _: &Self::Desired, target: &Target, look: Look<'_>) -> Result<Option<Sent>, Error> {
        let first = match prompts::versions(session, &target.id, 1).await {
            Ok(page) => page,
            Err(error) if error.kind == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let shows = |page: &VersionPage, number: &str| versions_of(page).iter().any(|entity| number_of(entity) == Some(number));
        let Some(sought) = look.sought.filter(|sought| first.page_count > 1 && !shows(&first, sought)) else {
            return Ok(Some(page_as_sent(first)));
        };
        let began = Instant::now();
        let found = later_page(session, &target.id, sought, &first).await?;
        // Where the later pages took their time, what is live is read once more.
        let first = if began.elapsed() > SCANNED_AT_ONCE { prompts::versions(session, &target.id, 1).await? } else { first };
        let Some(found) = found.filter(|_| !shows(&first, sought)) else {
            return Ok(Some(page_as_sent(first)));
        };
        let versions = versions_of(&first).into_iter().chain([found]).collect();
        sent(versions, first.date, first.correlation_id, first.requests).map(Some)
    }

    async fn write(session: &mut Session, step: &Step, gate: Gate) -> Result<Sent, Error> {
        let test = step.body.get("abTestingTrigger").filter(|test| test.is_object());
        let variant = test.and_then(|test| test.get("variantId")).and_then(Value::as_str);
        let percent = test.and_then(|test| test.get("trafficPercent")).and_then(Value::as_f64);
        // The engine lets 0 to 100 through; a float that is cast saturates.
        let header =
            variant.zip(percent).map(|(variant_id, part)| AbHeader { variant_id, percent: (part * 100.0).round() as u8 });
        let answer = prompts::promote(session, &step.target.id, &step.body, header, gate).await?;
        sent(vec![answer.document.parse()], answer.date, answer.correlation_id, answer.requests)
    }
}

/// Looks for a version on the pages after the first.
async fn later_page(session: &mut Session, id: &str, sought: &str, first: &VersionPage) -> Result<Option<Value>, Error> {
    let mut last = versions_of(first).last().and_then(number_of).map(str::to_owned);
    for number in 2..=first.page_count.min(MAX_PAGES) {
        let versions = versions_of(&prompts::versions(session, id, number).await?);
        let oldest = versions.last().and_then(number_of).map(str::to_owned);
        if oldest.is_none() || oldest == last {
            // The pages have ended, whatever their count says.
            break;
        }
        last = oldest;
        if let Some(found) = versions.into_iter().find(|entity| number_of(entity) == Some(sought)) {
            return Ok(Some(found));
        }
    }
    Ok(None)
}

fn number_of(entity: &Value) -> Option<&str> {
    entity.get("version").and_then(Value::as_str)
}

fn versions_of(page: &VersionPage) -> Vec<Value> {
    match page.document.parse().get_mut("entities").map(Value::take) {
        Some(Value::Array(entities)) => entities,
        _ => Vec::new(),
    }
}

fn page_as_sent(page: VersionPage) -> Sent {
    Sent {
        version: versions_of(&page).first().and_then(number_of).map(str::to_owned),
        etag: None,
        document: page.document,
        guard: Ok(Guard::None),
        date: page.date,
        correlation_id: page.correlation_id,
        requests: page.requests,
    }
}

/// Versions as a page shows them, newest first.
fn sent(versions: Vec<Value>, date: Option<Timestamp>, correlation_id: Option<String>, requests: u32) -> Result<Sent, Error> {
    let version = versions.first().and_then(number_of).map(str::to_owned);
    let document = serde_json::json!({"entities": versions}).to_string().into_bytes();
    let unusable = |error| Error::new("P1", ErrorKind::BadAnswer).because(format!("the versions are {error}"));
    let document = Document::new(document).map_err(unusable)?;
    Ok(Sent { document, version, etag: None, guard: Ok(Guard::None), date, correlation_id, requests })
}
