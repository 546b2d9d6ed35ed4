//! Lists, page by page, however an app pages.

use serde_json::Value as Json;

use super::client::{Answer, Client};
use super::manifest::{CallKind, Paging, Request};
use super::path;
use super::template::{Prepared, Variables, prepare};
use crate::endpoint::EndpointError;

/// A list under way.
pub(super) struct Pages<'a> {
    client: &'a Client,
    container: Option<&'a str>,
    listing: Listing<'a>,
    variables: Variables,
    next: Option<Prepared>,
    /// Records that were handed out, and pages.
    seen: usize,
    page: u32,
    /// The last record of the page before, where pages overlap.
    last: Option<Json>,
}

/// What is listed.
#[derive(Clone, Copy)]
pub(super) struct Listing<'a> {
    pub request: &'a Request,
    pub items: &'a str,
    pub paging: &'a Paging,
    /// Records per page, where pages are counted.
    pub size: u32,
    /// What its calls count as.
    pub kind: CallKind,
}

/// One page, as the app answered it.
pub(super) struct Page {
    pub items: Vec<Json>,
    pub answer: Answer,
}

impl<'a> Pages<'a> {
    pub(super) fn new(
        client: &'a Client,
        container: Option<&'a str>,
        listing: Listing<'a>,
        variables: Variables,
    ) -> Pages<'a> {
        let mut pages = Pages {
            client,
            container,
            listing,
            variables,
            next: None,
            seen: 0,
            page: match listing.paging {
                Paging::Page { first } => *first,
                _ => 0,
            },
            last: None,
        };
        pages.variables.set("limit", listing.size);
        pages.variables.set("offset", 0);
        pages.variables.set("page", pages.page);
        if let Paging::After { first, .. } = listing.paging {
            pages.variables.set("cursor", first.as_str());
        }
        pages.next = Some(prepare(listing.request, &pages.variables));
        pages
    }

    /// The next page; `None` after the last.
    pub(super) async fn next(&mut self) -> Result<Option<Page>, EndpointError> {
        let Some(request) = self.next.take() else {
            return Ok(None);
        };
        let answer = self
            .client
            .ask(self.listing.kind, self.container, &request)
            .await?;
        let items = path::items(&answer.body, self.listing.items).to_vec();
        let page = self.follow(Page { items, answer })?;
        Ok(Some(page))
    }

    /// Everything, in one list. For what is few: containers, tables.
    pub(super) async fn all(mut self) -> Result<Vec<Json>, EndpointError> {
        let mut all = Vec::new();
        while let Some(page) = self.next().await? {
            all.extend(page.items);
            if all.len() > limits::FEW {
                let text = format!(
                    "{} lists more than can be shown",
                    self.client.manifest.title
                );
                return Err(EndpointError::operator("too-many", text));
            }
        }
        Ok(all)
    }

    /// Finds out what comes after this page.
    fn follow(&mut self, mut page: Page) -> Result<Page, EndpointError> {
        let is_full = page.items.len() >= self.listing.size as usize;
        match self.listing.paging {
            Paging::None => {}
            Paging::Header { name } => {
                let address = page.answer.header(name).map(next_link);
                if let Some(Some(address)) = address.filter(|_| !page.items.is_empty()) {
                    self.next = Some(self.client.next_page(&address)?);
                }
            }
            Paging::Address { at } => {
                if let Some(address) = path::text(&page.answer.body, at) {
                    self.next = Some(self.client.next_page(&address)?);
                }
            }
            Paging::Cursor { at } => {
                if let Some(cursor) = path::text(&page.answer.body, at) {
                    self.variables.set("cursor", cursor);
                    self.next = Some(prepare(self.listing.request, &self.variables));
                }
            }
            Paging::After { at, more, .. } => {
                if let Some(last) = last_of(&page, at, more) {
                    self.variables.set("cursor", last);
                    self.next = Some(prepare(self.listing.request, &self.variables));
                }
            }
            Paging::Page { .. } => {
                if is_full {
                    self.page += 1;
                    self.variables.set("page", self.page);
                    self.next = Some(prepare(self.listing.request, &self.variables));
                }
            }
            Paging::Offset => self.overlap(&mut page, is_full)?,
        }
        Ok(page)
    }

    /// The page begins with the last record of the one before, unless records moved meanwhile.
    fn overlap(&mut self, page: &mut Page, is_full: bool) -> Result<(), EndpointError> {
        let last = page.items.last().cloned();
        if let Some(before) = self.last.take() {
            let id = &self.client.manifest.record.id;
            let is_met = page.items.first().and_then(|first| path::find(first, id))
                == path::find(&before, id);
            if !is_met {
                let text = "records moved between two pages of a list: it is read again";
                return Err(EndpointError::retry("pages-moved", text));
            }
            page.items.remove(0);
        }
        self.seen += page.items.len();
        if is_full {
            self.variables.set("offset", self.seen.saturating_sub(1));
            self.next = Some(prepare(self.listing.request, &self.variables));
            self.last = last;
        }
        Ok(())
    }
}

/// What the next page comes after; `None` where there is none.
fn last_of(page: &Page, at: &str, more: &str) -> Option<String> {
    path::text(&page.answer.body, more)?;
    path::text(page.items.last()?, at)
}

/// The address in a header: a plain one, or that of `rel="next"` (RFC 8288).
fn next_link(header: &str) -> Option<String> {
    if !header.trim_start().starts_with('<') {
        return Some(header.trim().to_owned());
    }
    header.split(',').find_map(|link| {
        let (address, rest) = link.trim().strip_prefix('<')?.split_once('>')?;
        let is_next = rest.replace(['"', ' '], "").contains("rel=next");
        is_next.then(|| address.to_owned())
    })
}

mod limits {
    /// Containers or tables of one connection.
    pub(super) const FEW: usize = 10_000;
}

#[cfg(test)]
mod tests {
    use reqwest::header::HeaderMap;
    use serde_json::json;

    use super::*;

    #[test]
    fn a_page_comes_after_the_last_record_of_the_one_before() {
        let page = |more: &str, ids: &[u32]| {
            let answer = Answer {
                status: 200,
                headers: HeaderMap::new(),
                body: json!({ more: "address" }),
            };
            let items = ids.iter().map(|id| json!({ "id": id })).collect();
            last_of(&Page { items, answer }, "id", "next")
        };
        assert_eq!(page("next", &[7, 9]), Some("9".into()));
        assert_eq!(page("prev", &[7, 9]), None);
        assert_eq!(page("next", &[]), None);
    }

    #[test]
    fn the_next_page_is_found_in_either_kind_of_header() {
        assert_eq!(next_link("http://a/b?c=d"), Some("http://a/b?c=d".into()));
        let link = r#"<http://a/1>; rel="prev", <http://a/3>; rel="next""#;
        assert_eq!(next_link(link), Some("http://a/3".into()));
        assert_eq!(next_link(r#"<http://a/1>; rel="last""#), None);
    }
}
