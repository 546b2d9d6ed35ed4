//! The first administrator. While nobody can sign in, `serve` prints a link with a secret; whoever
//! opens it chooses a name and a password. The secret is good once, and for this process only.

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum_extra::extract::CookieJar;
use serde::{Deserialize, Serialize};
use subtle::ConstantTimeEq;
use utoipa::ToSchema;
use zeroize::Zeroizing;

use super::session::{self, Me};
use super::users::named;
use super::{now_ms, password};
use crate::api::{Api, Problem};
use crate::store::audit;
use crate::store::roles::Role;
use crate::store::secret::random_text;
use crate::store::{DEFAULT_WORKSPACE, users};

/// Prefix of the secret, for scanners.
const PREFIX: &str = "tg_setup_";

/// The secret of the link.
pub struct Setup(Zeroizing<String>);

impl Default for Setup {
    fn default() -> Setup {
        Setup(random_text(PREFIX))
    }
}

impl Setup {
    /// The path to open in a browser. The secret is behind `#`, so no proxy's log holds it.
    pub fn path(&self) -> Zeroizing<String> {
        Zeroizing::new(format!("/setup#{}", *self.0))
    }

    fn is(&self, given: &str) -> bool {
        self.0.as_bytes().ct_eq(given.as_bytes()).into()
    }
}

/// What a sign-in page needs to know before anybody signed in.
#[derive(Serialize, Deserialize, ToSchema)]
pub struct Entrance {
    /// Nobody can sign in yet: open the link that `serve` printed.
    pub needs_setup: bool,
    /// Who signs people in, too: the name on the button. Absent: nobody does.
    pub provider: Option<String>,
    pub version: String,
}

/// The first administrator.
#[derive(Serialize, Deserialize, ToSchema)]
pub struct FirstAdmin {
    /// From the link.
    #[schema(value_type = String)]
    pub secret: Zeroizing<String>,
    pub name: String,
    #[schema(value_type = String)]
    pub password: Zeroizing<String>,
}

/// Whether somebody can sign in.
#[utoipa::path(get, path = "/api/v1/entrance", operation_id = "entrance",
    responses((status = 200, body = Entrance)), security(()))]
pub(in crate::api) async fn entrance(State(api): State<Api>) -> Result<Json<Entrance>, Problem> {
    let anybody = api.store.view(users::any).await?;
    Ok(Json(Entrance {
        needs_setup: !anybody,
        provider: api.access.provider_name(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
    }))
}

/// Makes the first administrator, and signs in.
#[utoipa::path(post, path = "/api/v1/setup", operation_id = "set_up",
    request_body = FirstAdmin,
    responses((status = 201, body = Me), (status = 403, body = Problem),
        (status = 409, body = Problem), (status = 422, body = Problem)),
    security(()))]
pub(in crate::api) async fn set_up(
    State(api): State<Api>,
    headers: HeaderMap,
    jar: CookieJar,
    Json(given): Json<FirstAdmin>,
) -> Result<(StatusCode, CookieJar, Json<Me>), Problem> {
    if !api.access.setup.is(&given.secret) {
        let detail = "this link is not the one of the running relay: see its log for the new one";
        return Err(Problem::new(StatusCode::FORBIDDEN, "wrong-link", detail));
    }
    let name = named(&given.name)?;
    let hash = password::hash(given.password).await?;
    let sealer = api.store.sealer().clone();
    let made = api
        .store
        .transact(move |tx| {
            if users::any(tx)? {
                return Ok(None);
            }
            let who = (name.as_str(), Role::Admin);
            users::add(tx, DEFAULT_WORKSPACE, who, Some(&hash), now_ms())?;
            let user = users::by_name(tx, DEFAULT_WORKSPACE, &name)?;
            let event = session::of(&user).did("user.add", &name);
            audit::append(tx, &sealer, &event)?;
            Ok(Some(user))
        })
        .await?;
    let Some(user) = made else {
        let detail = "this relay is set up already: sign in";
        return Err(Problem::new(StatusCode::CONFLICT, "set-up", detail));
    };
    let cookie = session::begin(&api, &user, session::came_by_tls(&headers)).await?;
    let me = session::me(&session::of(&user));
    Ok((StatusCode::CREATED, jar.add(cookie), Json(me)))
}
