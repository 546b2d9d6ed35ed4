//! The HTTP API: everything that CLI and console can do, one file per resource.
//!
//! It knows the engine and pairing only through the traits of `engine::handle` and
//! [`agents::AgentControl`]; `app` hands them in, and a handler sees its caller's [`workspace`] alone. Who may call what is told here, where the routes
//! are listed by the role that they need; see [`access`].

pub mod access;
pub mod agents;
pub mod audit;
pub mod authorities;
pub mod channels;
pub mod conflicts;
pub mod connections;
mod console;
pub mod drafts;
mod events;
pub mod findings;
pub mod forward;
pub mod health;
pub mod mapping;
pub mod metrics;
mod news;
mod page;
mod problem;
mod repeats;
pub mod syncs;
pub mod tokens;
mod version;
pub mod workspace;
pub mod writes;

use std::sync::Arc;

use axum::Router;
use axum::http::StatusCode;
use axum::routing::get;
pub use problem::Problem;
use tokio_util::sync::CancellationToken;
use tower_http::limit::RequestBodyLimitLayer;
use tower_http::timeout::TimeoutLayer;
use utoipa::OpenApi;
use utoipa::openapi::path::{ParameterBuilder, ParameterIn};
use utoipa::openapi::security::{
    ApiKey, ApiKeyValue, HttpAuthScheme, HttpBuilder, SecurityRequirement, SecurityScheme,
};
use utoipa::openapi::{Content, Object, RefOr, Response, Type};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use self::access::{Access, oidc, session, setup, users};
use self::forward::Forwards;
use self::repeats::Repeats;
use self::workspace::Rooms;
use crate::config::AllowPrivate;
use crate::engine::news::Activity;
use crate::engine::report::LiveEvent;
use crate::notify::Courier;
use crate::store::Store;
use crate::store::roles::Role;

/// Bounds of the API.
pub mod limits {
    use std::time::Duration;

    /// Largest request body, bytes: a sync file of its greatest size and some room.
    pub const BODY_BYTES_MAX: usize = 2 << 20;
    /// Longest request: a preview or a verify reads both sides completely.
    pub const REQUEST_MAX: Duration = Duration::from_secs(3600);
    /// Event streams at the same time: each holds a socket and a place in the engine's channel.
    pub const EVENT_STREAMS_MAX: usize = 64;
}

/// What the API works on.
#[derive(Clone)]
pub struct Api {
    pub store: Store,
    pub rooms: Arc<dyn Rooms>,
    /// Addresses that apps and firewalls will see.
    pub egress: Vec<String>,
    /// Whose connections and channels may lead to private addresses.
    pub allow_private: AllowPrivate,
    /// For `/readyz`.
    pub readiness: Arc<dyn Readiness>,
    pub access: Arc<Access>,
    /// Sends what notifications there are; here, tests of channels.
    pub courier: Arc<Courier>,
    /// Sessions of people's own tools.
    pub forwards: Arc<Forwards>,
    /// Ends what would not end by itself: event streams and forwarded sessions.
    pub stop: CancellationToken,
}

/// Tells whether the relay can do its work.
#[async_trait::async_trait]
pub trait Readiness: Send + Sync {
    /// One line per thing that is not ready. Anybody may read it.
    async fn missing(&self) -> Vec<String>;
}

#[derive(OpenApi)]
#[openapi(
    info(title = "Tidegate relay", description = "Two-way sync of a private PostgreSQL."),
    modifiers(&Schemes),
    components(schemas(Activity, LiveEvent, events::Gone))
)]
struct Document;

struct Schemes;

impl utoipa::Modify for Schemes {
    fn modify(&self, openapi: &mut utoipa::openapi::OpenApi) {
        let scheme = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).build();
        let components = openapi.components.get_or_insert_with(Default::default);
        components.add_security_scheme("token", SecurityScheme::Http(scheme));
        let cookie = ApiKey::Cookie(ApiKeyValue::new(access::COOKIE));
        components.add_security_scheme("session", SecurityScheme::ApiKey(cookie));
    }
}

/// The routes and their OpenAPI document, built from one call each.
pub fn router(api: Api) -> Router {
    let for_role = |least: Role, routes: OpenApiRouter<Api>| {
        routes.route_layer(axum::middleware::from_fn(move |request, next| {
            access::require(least, request, next)
        }))
    };
    let (protected, document) = OpenApiRouter::with_openapi(Document::openapi())
        .merge(for_role(Role::Viewer, viewer_routes()))
        .merge(for_role(Role::Editor, editor_routes()))
        .merge(for_role(Role::Admin, admin_routes()))
        .route_layer(axum::middleware::from_fn_with_state(
            Repeats::new(api.store.clone()),
            repeats::once,
        ))
        .route_layer(axum::middleware::from_fn_with_state(
            api.clone(),
            access::check,
        ))
        .merge(open_routes())
        .split_for_parts();
    let document = Arc::new(with_keys(with_problems(document)));
    let streams = events::Streams::default();
    Router::new()
        .merge(protected)
        .route("/healthz", get(health::healthz))
        .route("/readyz", get(health::readyz))
        .route(
            "/api/v1/openapi.json",
            get(move || health::openapi(document.clone())),
        )
        .layer(axum::Extension(streams))
        .fallback(console::serve)
        .layer(RequestBodyLimitLayer::new(limits::BODY_BYTES_MAX))
        .layer(TimeoutLayer::with_status_code(
            StatusCode::GATEWAY_TIMEOUT,
            limits::REQUEST_MAX,
        ))
        .layer(axum::middleware::from_fn(problem::everywhere))
        .with_state(api)
}

/// What whoever is not known yet may ask.
fn open_routes() -> OpenApiRouter<Api> {
    OpenApiRouter::new()
        .routes(routes!(setup::entrance))
        .routes(routes!(setup::set_up))
        .routes(routes!(session::sign_in))
        .routes(routes!(oidc::begin_oidc))
        .routes(routes!(oidc::finish_oidc))
}

/// Reads, and what concerns oneself.
fn viewer_routes() -> OpenApiRouter<Api> {
    OpenApiRouter::new()
        .routes(routes!(session::who_am_i, session::sign_out))
        .routes(routes!(session::change_password))
        .routes(routes!(oidc::connect_oidc))
        .routes(routes!(agents::list_agents))
        .routes(routes!(agents::show_agent))
        .routes(routes!(connections::list_connections))
        .routes(routes!(connections::list_app_kinds))
        .routes(routes!(connections::show_connection))
        .routes(routes!(connections::connection_tables))
        .routes(routes!(syncs::list_syncs))
        .routes(routes!(syncs::sync_status))
        .routes(routes!(findings::list_all_findings))
        .routes(routes!(findings::list_findings))
        .routes(routes!(conflicts::list_all_conflicts))
        .routes(routes!(conflicts::list_conflicts))
        .routes(routes!(writes::sync_history))
        .routes(routes!(writes::sync_runs))
        .routes(routes!(syncs::export_sync))
        .routes(routes!(events::live_events))
        .routes(routes!(syncs::sync_definition))
        .routes(routes!(drafts::list_drafts))
        .routes(routes!(drafts::show_draft))
        .routes(routes!(channels::list_channels))
        .routes(routes!(channels::show_channel))
        .routes(routes!(channels::list_deliveries))
        .routes(routes!(health::egress))
}

/// What plans, changes or reads through a sync.
fn editor_routes() -> OpenApiRouter<Api> {
    OpenApiRouter::new()
        .routes(routes!(connections::test_connection))
        .routes(routes!(mapping::suggest_tables))
        .routes(routes!(mapping::suggest_fields))
        .routes(routes!(mapping::count_records))
        .routes(routes!(drafts::add_draft))
        .routes(routes!(drafts::replace_draft, drafts::remove_draft))
        .routes(routes!(syncs::write_file))
        .routes(routes!(syncs::read_file))
        .routes(routes!(syncs::plan_sync))
        .routes(routes!(syncs::apply_sync))
        .routes(routes!(syncs::remove_sync))
        .routes(routes!(syncs::pause_sync))
        .routes(routes!(syncs::resume_sync))
        .routes(routes!(syncs::approve_sync))
        .routes(routes!(syncs::verify_sync))
        .routes(routes!(syncs::repair_sync))
        .routes(routes!(findings::retry_findings))
        .routes(routes!(findings::retry_finding))
        .routes(routes!(conflicts::pick_value))
        .routes(routes!(conflicts::pick_values))
        .routes(routes!(writes::plan_undo))
        .routes(routes!(writes::undo_writes))
        .routes(routes!(forward::forward_agent))
}

/// Who and what takes part, and changes of a database's schema.
fn admin_routes() -> OpenApiRouter<Api> {
    OpenApiRouter::new()
        .routes(routes!(agents::invite_agent))
        .routes(routes!(agents::revoke_agent))
        .routes(routes!(connections::add_connection))
        .routes(routes!(connections::remove_connection))
        .routes(routes!(connections::choose_capture))
        .routes(routes!(connections::fix_key))
        .routes(routes!(channels::add_channel))
        .routes(routes!(channels::change_channel, channels::remove_channel))
        .routes(routes!(channels::test_channel))
        .routes(routes!(channels::resend_delivery))
        .routes(routes!(users::list_users, users::add_user))
        .routes(routes!(users::change_user, users::remove_user))
        .routes(routes!(tokens::list_tokens, tokens::create_token))
        .routes(routes!(tokens::revoke_token))
        .routes(routes!(audit::list_audit))
        .routes(routes!(audit::verify_audit))
        .routes(routes!(authorities::list_authorities))
        .routes(routes!(authorities::renew_authority))
        .routes(routes!(authorities::finish_authority))
}

/// Says of each operation that makes something that it takes a key for repetitions.
fn with_keys(mut document: utoipa::openapi::OpenApi) -> utoipa::openapi::OpenApi {
    let text = "A text of your own for this request: sent again with it, it gets the same answer \
                for a day, and nothing is made twice.";
    let key = ParameterBuilder::new()
        .name(repeats::HEADER)
        .parameter_in(ParameterIn::Header)
        .description(Some(text))
        .schema(Some(Object::with_type(Type::String)))
        .build();
    let posts = document.paths.paths.values_mut();
    for operation in posts.filter_map(|item| item.post.as_mut()) {
        // Before anybody signed in there is nobody whose key it could be.
        let is_open = operation.security.as_ref() == Some(&vec![SecurityRequirement::default()]);
        if operation.responses.responses.contains_key("201") && !is_open {
            operation
                .parameters
                .get_or_insert_default()
                .push(RefOr::T(key.clone()));
        }
    }
    document
}

/// Says of each operation that its refusals are problem documents.
fn with_problems(mut document: utoipa::openapi::OpenApi) -> utoipa::openapi::OpenApi {
    let schema = utoipa::openapi::Ref::from_schema_name(<Problem as utoipa::ToSchema>::name());
    let content = Content::new(Some(RefOr::Ref(schema)));
    for item in document.paths.paths.values_mut() {
        let operations = [
            &mut item.get,
            &mut item.post,
            &mut item.put,
            &mut item.patch,
            &mut item.delete,
        ];
        for operation in operations.into_iter().flatten() {
            let responses = &mut operation.responses.responses;
            let other = Response::new("Refused, or failed");
            responses
                .entry("default".to_owned())
                .or_insert(RefOr::T(other));
            for (status, response) in responses {
                let is_refusal = !status.starts_with(['2', '3']);
                if let (true, RefOr::T(response)) = (is_refusal, response) {
                    response.content.clear();
                    response
                        .content
                        .insert(problem::MEDIA_TYPE.to_owned(), content.clone().into());
                }
            }
        }
    }
    document
}
