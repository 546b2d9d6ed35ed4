//! The HTTP API: everything that CLI and console can do, one file per resource.
//!
//! It knows the engine, pairing and store only through the traits of `engine::handle` and
//! [`agents::AgentControl`]; `app` hands them in. Every route but health and the OpenAPI document
//! needs a bearer token.

pub mod agents;
mod auth;
pub mod conflicts;
pub mod connections;
mod events;
pub mod health;
pub mod metrics;
mod problem;
pub mod syncs;
pub mod tokens;
pub mod writes;

use std::sync::Arc;

use axum::Router;
use axum::http::StatusCode;
use axum::routing::get;
pub use problem::Problem;
use tower_http::limit::RequestBodyLimitLayer;
use tower_http::timeout::TimeoutLayer;
use utoipa::OpenApi;
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::openapi::{Content, RefOr, Response};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use self::agents::AgentControl;
use crate::engine::handle::{ConnectionControl, SyncControl};
use crate::store::Store;

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
    pub syncs: Arc<dyn SyncControl>,
    pub connections: Arc<dyn ConnectionControl>,
    pub agents: Arc<dyn AgentControl>,
    /// Addresses that apps and firewalls will see.
    pub egress: Vec<String>,
    /// Names of running syncs whose sides are not reached, for `/readyz`.
    pub readiness: Arc<dyn Readiness>,
}

/// Tells whether the relay can do its work.
#[async_trait::async_trait]
pub trait Readiness: Send + Sync {
    /// One line per thing that is not ready.
    async fn missing(&self) -> Vec<String>;
}

#[derive(OpenApi)]
#[openapi(
    info(title = "Tidegate relay", description = "Two-way sync of a private PostgreSQL."),
    modifiers(&BearerToken)
)]
struct Document;

struct BearerToken;

impl utoipa::Modify for BearerToken {
    fn modify(&self, openapi: &mut utoipa::openapi::OpenApi) {
        let scheme = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).build();
        let components = openapi.components.get_or_insert_with(Default::default);
        components.add_security_scheme("token", SecurityScheme::Http(scheme));
    }
}

/// The routes and their OpenAPI document, built from one call each.
pub fn router(api: Api) -> Router {
    let (protected, document) = OpenApiRouter::with_openapi(Document::openapi())
        .routes(routes!(agents::list_agents, agents::invite_agent))
        .routes(routes!(agents::show_agent))
        .routes(routes!(agents::revoke_agent))
        .routes(routes!(
            connections::list_connections,
            connections::add_connection
        ))
        .routes(routes!(
            connections::show_connection,
            connections::remove_connection
        ))
        .routes(routes!(connections::test_connection))
        .routes(routes!(connections::connection_tables))
        .routes(routes!(connections::fix_key))
        .routes(routes!(syncs::plan_sync))
        .routes(routes!(syncs::apply_sync))
        .routes(routes!(syncs::list_syncs))
        .routes(routes!(syncs::sync_status, syncs::remove_sync))
        .routes(routes!(syncs::pause_sync))
        .routes(routes!(syncs::resume_sync))
        .routes(routes!(syncs::approve_sync))
        .routes(routes!(syncs::verify_sync))
        .routes(routes!(syncs::repair_sync))
        .routes(routes!(syncs::retry_findings))
        .routes(routes!(syncs::list_findings))
        .routes(routes!(conflicts::list_conflicts))
        .routes(routes!(conflicts::pick_value))
        .routes(routes!(writes::sync_history))
        .routes(routes!(writes::sync_runs))
        .routes(routes!(writes::plan_undo))
        .routes(routes!(writes::undo_writes))
        .routes(routes!(syncs::export_sync))
        .routes(routes!(tokens::list_tokens, tokens::create_token))
        .routes(routes!(tokens::revoke_token))
        .routes(routes!(events::live_events))
        .routes(routes!(health::egress))
        .split_for_parts();
    let document = Arc::new(with_problems(document));
    let streams = events::Streams::default();
    let protected = protected.layer(axum::middleware::from_fn_with_state(
        api.clone(),
        auth::check,
    ));
    Router::new()
        .merge(protected)
        .route("/healthz", get(health::healthz))
        .route("/readyz", get(health::readyz))
        .route(
            "/api/v1/openapi.json",
            get(move || health::openapi(document.clone())),
        )
        .layer(axum::Extension(streams))
        .fallback(problem::no_route)
        .layer(RequestBodyLimitLayer::new(limits::BODY_BYTES_MAX))
        .layer(TimeoutLayer::with_status_code(
            StatusCode::GATEWAY_TIMEOUT,
            limits::REQUEST_MAX,
        ))
        .layer(axum::middleware::from_fn(problem::everywhere))
        .with_state(api)
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
            &mut item.delete,
        ];
        for operation in operations.into_iter().flatten() {
            let responses = &mut operation.responses.responses;
            let other = Response::new("Refused, or failed");
            responses
                .entry("default".to_owned())
                .or_insert(RefOr::T(other));
            for (status, response) in responses {
                let is_refusal = !status.starts_with('2');
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
