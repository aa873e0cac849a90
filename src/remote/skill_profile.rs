//! Calls of `SkillProfile`: S1 and S2.

use super::{Remote, Sent};
use crate::api::SkillProfile;
use crate::engine::{Guard, Step, Target};
use crate::genesys::profiles::{self, ProfileState};
use crate::genesys::{Error, ErrorKind, Gate, Session};

impl Remote for SkillProfile {
    async fn read(session: &mut Session, target: &Target, _: Option<&str>) -> Result<Option<Sent>, Error> {
        match profiles::get(session, &target.id).await {
            Ok(state) => Ok(Some(sent(state))),
            Err(error) if error.kind == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    async fn write(session: &mut Session, step: &Step, gate: Gate) -> Result<Sent, Error> {
        profiles::put(session, &step.target.id, &step.body, gate).await.map(sent)
    }
}

fn sent(state: ProfileState) -> Sent {
    let guard = match state.version {
        _ if !state.document.survives() => Err("it holds numbers or names that would change on the way back".to_owned()),
        None => Err("the answer holds no version, so a write could overwrite somebody's change unseen".to_owned()),
        Some(version) => Ok(Guard::Version(version)),
    };
    Sent {
        version: state.version.map(|v| v.to_string()),
        etag: None,
        document: state.document,
        guard,
        date: state.date,
        correlation_id: state.correlation_id,
        requests: state.requests,
    }
}
