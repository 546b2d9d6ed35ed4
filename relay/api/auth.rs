//! Who is asking: a bearer token, compared by its hash.

use axum::extract::{Request, State};
use axum::http::{StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use zeroize::Zeroizing;

use super::{Api, Problem};
use crate::store::tokens;

/// Lets a request with a valid token pass.
pub(super) async fn check(State(api): State<Api>, request: Request, next: Next) -> Response {
    let token = request
        .headers()
        .get(header::AUTHORIZATION)
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.strip_prefix("Bearer "))
        .map(|token| Zeroizing::new(token.trim().to_owned()));
    let Some(token) = token else {
        return refused("send a token: `Authorization: Bearer …` (the CLI takes TIDEGATE_TOKEN)");
    };
    let now = jiff::Timestamp::now().as_millisecond();
    match api
        .store
        .view(move |conn| tokens::verify(conn, &token, now))
        .await
    {
        Ok(Some(_)) => next.run(request).await,
        Ok(None) => refused("this token is unknown or has expired: make one with `token create`"),
        Err(error) => Problem::from(error).into_response(),
    }
}

fn refused(detail: &str) -> Response {
    let problem = Problem::new(StatusCode::UNAUTHORIZED, "no-token", detail);
    ([(header::WWW_AUTHENTICATE, "Bearer")], problem).into_response()
}
