//! Lists that can be long, in pages: `limit` and `cursor` of the request, `x-next-cursor` of the answer.
//!
//! A cursor names the last item of its page, so that a page neither repeats nor leaves out what was
//! there all the time, whatever comes and goes meanwhile.

use axum::Json;
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use utoipa::IntoParams;

use super::Problem;
use crate::engine::handle::{Listed, Part};

/// Most items of a page.
const LIMIT_MAX: u32 = 1000;

#[derive(Clone, Debug, Default, Deserialize, IntoParams)]
pub(super) struct Page {
    /// At most so many, up to 1000.
    #[param(minimum = 1, maximum = 1000)]
    limit: Option<u32>,
    /// What `x-next-cursor` of the page before said.
    cursor: Option<String>,
}

impl Page {
    /// Between 1 and the most that there is.
    pub(super) fn limit(&self, default: u32) -> Result<u32, Problem> {
        match self.limit {
            None => Ok(default.min(LIMIT_MAX)),
            Some(limit) if (1..=LIMIT_MAX).contains(&limit) => Ok(limit),
            Some(_) => {
                let detail = format!("`limit` is a number from 1 to {LIMIT_MAX}");
                let status = StatusCode::UNPROCESSABLE_ENTITY;
                Err(Problem::new(status, "bad-limit", detail))
            }
        }
    }

    /// The part of a list whose places are numbers.
    pub(super) fn part(&self, default: u32) -> Result<Part, Problem> {
        Ok(Part {
            after: self.number()?,
            limit: self.limit(default)?,
        })
    }

    /// The cursor of a list that is ordered by numbers.
    pub(super) fn number(&self) -> Result<Option<i64>, Problem> {
        let wrong = |_| {
            let detail = "this cursor is not one of this list: begin without one";
            Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "bad-cursor", detail)
        };
        let cursor = self.cursor.as_deref();
        cursor.map(|text| text.parse().map_err(wrong)).transpose()
    }
}

/// A page, and where the next one begins.
pub(super) struct Paged<T> {
    items: Vec<T>,
    next: Option<i64>,
}

impl<T> Paged<T> {
    /// A page that was asked for with this limit: a full one may have another behind it.
    pub(super) fn up_to(limit: u32, items: Vec<T>, place: impl Fn(&T) -> i64) -> Paged<T> {
        let is_full = items.len() >= limit as usize;
        let next = items.last().filter(|_| is_full).map(place);
        Paged { items, next }
    }

    /// A part of a list, whose items have places.
    pub(super) fn of(listed: Listed<T>, place: impl Fn(&T) -> i64) -> Paged<T> {
        let next = listed.items.last().filter(|_| listed.more).map(place);
        Paged {
            items: listed.items,
            next,
        }
    }

    pub(super) fn map<U>(self, of: impl FnMut(T) -> U) -> Paged<U> {
        Paged {
            items: self.items.into_iter().map(of).collect(),
            next: self.next,
        }
    }
}

impl<T: Serialize> IntoResponse for Paged<T> {
    fn into_response(self) -> Response {
        let mut response = Json(self.items).into_response();
        if let Some(next) = self.next {
            let headers = response.headers_mut();
            headers.insert("x-next-cursor", HeaderValue::from(next));
        }
        response
    }
}
