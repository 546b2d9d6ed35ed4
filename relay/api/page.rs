//! Lists that can be long, in pages: `limit` and `cursor` of the request, `x-next-cursor` of the answer.
//!
//! A cursor names the last item of its page, so that a page neither repeats nor leaves out what was
//! there all the time, whatever comes and goes meanwhile.

use axum::Json;
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};
use utoipa::IntoParams;

use super::Problem;
use crate::engine::handle::{Listed, Part};

/// Most items of a page.
const LIMIT_MAX: u32 = 1000;

#[derive(Clone, Debug, Default, Deserialize, IntoParams)]
pub(in crate::api) struct Page {
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
        let cursor = self.cursor.as_deref();
        cursor
            .map(|text| text.parse().map_err(|_| wrong_cursor()))
            .transpose()
    }

    /// A page of a list that is known whole, by name: all of it, unless a limit is asked for.
    pub(in crate::api) fn by_name<T>(
        &self,
        mut items: Vec<T>,
        name: impl Fn(&T) -> &str,
    ) -> Result<Paged<T>, Problem> {
        let limit = match self.limit {
            None => items.len(),
            Some(_) => self.limit(LIMIT_MAX)? as usize,
        };
        items.sort_by(|one, other| name(one).cmp(name(other)));
        if let Some(cursor) = &self.cursor {
            let after = URL_SAFE_NO_PAD.decode(cursor).map_err(|_| wrong_cursor())?;
            items.retain(|item| name(item).as_bytes() > after.as_slice());
        }
        // Several of one name are on one page.
        let mut end = limit.min(items.len());
        while end > 0 && end < items.len() && name(&items[end]) == name(&items[end - 1]) {
            end += 1;
        }
        let more = end < items.len();
        items.truncate(end);
        let last = items.last().filter(|_| more);
        let next = last.map(|last| URL_SAFE_NO_PAD.encode(name(last)));
        Ok(Paged { items, next })
    }
}

fn wrong_cursor() -> Problem {
    let detail = "this cursor is not one of this list: begin without one";
    Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "bad-cursor", detail)
}

/// A page, and where the next one begins.
pub(in crate::api) struct Paged<T> {
    items: Vec<T>,
    next: Option<String>,
}

impl<T> Paged<T> {
    /// A page that was asked for with this limit: a full one may have another behind it.
    pub(super) fn up_to(limit: u32, items: Vec<T>, place: impl Fn(&T) -> i64) -> Paged<T> {
        let is_full = items.len() >= limit as usize;
        let next = items.last().filter(|_| is_full).map(place);
        let next = next.map(|place| place.to_string());
        Paged { items, next }
    }

    /// A part of a list, whose items have places.
    pub(super) fn of(listed: Listed<T>, place: impl Fn(&T) -> i64) -> Paged<T> {
        let next = listed.items.last().filter(|_| listed.more).map(place);
        let next = next.map(|place| place.to_string());
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
        // Numbers and base64 have no other characters.
        let next = self.next.and_then(|next| HeaderValue::try_from(next).ok());
        if let Some(next) = next {
            response.headers_mut().insert("x-next-cursor", next);
        }
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_by_name_is_read_to_its_end_in_pages() {
        let list = || ["ü", "a", "d", "b", "b", "c"].map(str::to_owned).to_vec();
        let page = |limit, cursor| {
            let page = Page { limit, cursor };
            page.by_name(list(), |name| name.as_str())
        };
        let whole = page(None, None).unwrap();
        assert_eq!(whole.items, ["a", "b", "b", "c", "d", "ü"]);
        assert_eq!(whole.next, None);
        let (mut read, mut cursor) = (Vec::new(), None);
        loop {
            let part = page(Some(2), cursor).unwrap();
            assert!((1..=3).contains(&part.items.len()));
            read.extend(part.items);
            cursor = part.next;
            if cursor.is_none() {
                break;
            }
        }
        assert_eq!(read, whole.items);
        for (limit, cursor) in [
            (Some(0), None),
            (Some(1001), None),
            (None, Some("!".into())),
        ] {
            assert!(page(limit, cursor).is_err());
        }
    }
}
