//! Calls of `AgentAssistConfig`: C1 to C4.

use jiff::Timestamp;

use super::{Look, Remote, Sent};
use crate::api::AgentAssistConfig;
use crate::engine::agent_assist_config::SNAPSHOT;
use crate::engine::{Guard, Step, Target};
use crate::genesys::{ConfigState, Error, ErrorKind, Etag, Gate, Session, configs, conversations};

impl Remote for AgentAssistConfig {
    async fn read(session: &mut Session, _: &Self::Desired, target: &Target, _: Look<'_>) -> Result<Option<Sent>, Error> {
        let answer = match target.id.rsplit_once('@').filter(|_| target.family == SNAPSHOT) {
            Some((id, version)) => match version.parse() {
                Ok(version) => configs::get_version(session, id, version).await,
                Err(_) => return Ok(None),
            },
            None => configs::get(session, &target.id).await,
        };
        match answer {
            Ok(state) => Ok(Some(sent(state))),
            Err(error) if error.kind == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn is_immutable(target: &Target) -> bool {
        target.family == SNAPSHOT
    }

    async fn write(session: &mut Session, step: &Step, gate: Gate) -> Result<Sent, Error> {
        let Guard::EtagAndVersion { etag, .. } = &step.guard else {
            return Err(Error::new("C3", ErrorKind::Configuration).because("a config is never written without its ETag"));
        };
        let Some(etag) = Etag::parse(etag) else {
            return Err(Error::new("C3", ErrorKind::Configuration).because("the guard is no ETag"));
        };
        configs::put(session, &step.target.id, &step.body, &etag, gate).await.map(sent)
    }

    async fn conversations(
        session: &mut Session,
        id: &str,
        version: Option<&str>,
        window: (Timestamp, Timestamp),
    ) -> Result<Vec<String>, Error> {
        let version = version.and_then(|v| v.parse().ok());
        let rows = conversations::query(session, id, version, window.0, window.1).await?;
        Ok(rows.into_iter().filter_map(|row| row.config_version_id).collect())
    }
}

fn sent(state: ConfigState) -> Sent {
    let guard = match (&state.etag, state.version) {
        _ if !state.document.survives() => Err("it holds numbers or names that would change on the way back".to_owned()),
        (None, _) => Err("the answer holds no ETag, so a write could overwrite somebody's change unseen".to_owned()),
        (_, None) => Err("the answer holds no version".to_owned()),
        (Some(etag), Some(version)) => Ok(Guard::EtagAndVersion { etag: etag.as_str().to_owned(), version }),
    };
    Sent {
        version: state.version.map(|v| v.to_string()),
        etag: state.etag.map(|e| e.as_str().to_owned()),
        document: state.document,
        guard,
        date: state.date,
        correlation_id: state.correlation_id,
        requests: state.requests,
    }
}
