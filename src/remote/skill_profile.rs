//! Calls of `SkillProfile`: S1 and S2, which `SkillPolicy` uses too.

use super::{Look, Remote, Sent};
use crate::api::SkillProfile;
use crate::engine::{Guard, Step, Target};
use crate::genesys::profiles::{self, ProfileState};
use crate::genesys::{Error, ErrorKind, Gate, Session};

impl Remote for SkillProfile {
    async fn read(session: &mut Session, _: &Self::Desired, target: &Target, _: Look<'_>) -> Result<Option<Sent>, Error> {
        read_profile(session, &target.id).await
    }

    async fn write(session: &mut Session, step: &Step, gate: Gate) -> Result<Sent, Error> {
        write_profile(session, step, gate).await
    }
}

/// S1: the routing profile of a user; `None` where there is no such user.
pub(super) async fn read_profile(session: &mut Session, user: &str) -> Result<Option<Sent>, Error> {
    match profiles::get(session, user).await {
        Ok(state) => Ok(Some(sent(state))),
        Err(error) if error.kind == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// S2: the step's whole profile.
pub(super) async fn write_profile(session: &mut Session, step: &Step, gate: Gate) -> Result<Sent, Error> {
    profiles::put(session, &step.target.id, &step.body, gate).await.map(sent)
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
