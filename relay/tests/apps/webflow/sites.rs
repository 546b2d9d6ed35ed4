//! The one site that the token is for, and who made the token.

use serde_json::{Value, json};

use super::{Webflow, not_found};
use crate::host::World;
use crate::host::call::{Answer, Call, Outcome};

impl Webflow {
    fn site_shown(&self) -> Value {
        json!({
            "id": self.site, "workspaceId": self.user, "displayName": "Double",
            "shortName": "double", "createdOn": "2026-01-01T00:00:00.000Z",
            "lastPublished": "2026-01-01T00:00:00.000Z",
            "lastUpdated": "2026-01-01T00:00:00.000Z", "previewUrl": null,
            "timeZone": "Europe/Berlin", "parentFolderId": null, "customDomains": [],
        })
    }

    /// The site's id, if the call is about it.
    pub(super) fn at_site(&self, call: &Call) -> Result<(), Answer> {
        match call.param(0) == self.site {
            true => Ok(()),
            false => Err(not_found("site")),
        }
    }

    pub(super) fn list_sites(&mut self, _call: &Call, _world: &mut World) -> Outcome {
        Ok(Answer::ok(&json!({ "sites": [self.site_shown()] })))
    }

    pub(super) fn read_site(&mut self, call: &Call, _world: &mut World) -> Outcome {
        self.at_site(call)?;
        Ok(Answer::ok(&self.site_shown()))
    }

    pub(super) fn authorized_by(&mut self, _call: &Call, _world: &mut World) -> Outcome {
        Ok(Answer::ok(&json!({
            "id": self.user, "email": "double@example.com", "firstName": "Do", "lastName": "Uble",
        })))
    }

    pub(super) fn introspect(&mut self, _call: &Call, _world: &mut World) -> Outcome {
        let authorization = json!({
            "id": self.user, "createdOn": "2026-01-01T00:00:00.000Z", "lastUsed": null,
            "grantType": "authorization_code", "rateLimit": super::CALLS,
            "scope": "sites:read,cms:read,cms:write",
            "authorizedTo": { "siteIds": [self.site], "workspaceIds": [], "userIds": [] },
        });
        Ok(Answer::ok(&json!({ "authorization": authorization })))
    }
}
