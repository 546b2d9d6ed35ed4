//! Every record of a table, page by page, each once, however few the app shows of one list.

use std::collections::HashSet;

use super::client::Client;
use super::manifest::{CallKind, List, Window};
use super::pages::{Listing, Page, Pages};
use super::path;
use super::shape::{Record, Shape};
use crate::endpoint::EndpointError;

pub(super) struct Whole<'a> {
    client: &'a Client,
    shape: &'a Shape,
    list: &'a List,
    pages: Pages<'a>,
    cut: Cut,
    count: Count,
}

/// Whether all were listed, where the app tells how many there are.
#[derive(Default)]
struct Count {
    listed: HashSet<String>,
    total: usize,
}

/// Where a list that is cut goes on.
#[derive(Default)]
struct Cut {
    is_cut: bool,
    /// Where this list began.
    from: String,
    /// Where its last record is, and which ones are there: they come again.
    last: String,
    there: HashSet<String>,
}

impl<'a> Whole<'a> {
    pub(super) fn new(client: &'a Client, shape: &'a Shape) -> Whole<'a> {
        let list = &client.manifest.list;
        let first = list.window.as_ref().map(|window| window.first.clone());
        let cut = Cut {
            from: first.unwrap_or_default(),
            ..Cut::default()
        };
        Whole {
            client,
            shape,
            list,
            pages: pages(client, shape, list, &cut.from),
            cut,
            count: Count::default(),
        }
    }

    /// The next records; `None` after the last.
    pub(super) async fn next(&mut self) -> Result<Option<Vec<Record>>, EndpointError> {
        loop {
            if let Some(page) = self.pages.next().await? {
                return self.records(page).map(Some);
            }
            if !self.cut.is_cut {
                self.check_count()?;
                return Ok(None);
            }
            if self.cut.last == self.cut.from {
                let text = format!(
                    "{} made more records of {} at {} than it shows of one list",
                    self.client.manifest.title, self.shape.label, self.cut.from
                );
                return Err(EndpointError::operator("too-many", text));
            }
            self.cut.is_cut = false;
            self.cut.from.clone_from(&self.cut.last);
            self.pages = pages(self.client, self.shape, self.list, &self.cut.from);
        }
    }

    fn records(&mut self, page: Page) -> Result<Vec<Record>, EndpointError> {
        let manifest = &self.client.manifest;
        let mut records = Vec::with_capacity(page.items.len());
        if let Some(window) = &self.list.window {
            self.cut.is_cut |= path::shows(&page.answer.body, &window.cut);
        }
        let total = self.list.total.as_ref();
        let total = total.and_then(|at| path::find(&page.answer.body, at)?.as_u64());
        if let Some(total) = total {
            self.count.total = usize::try_from(total).unwrap_or(usize::MAX);
        }
        for item in &page.items {
            let record = self.shape.record(manifest, item)?;
            if total.is_some() {
                self.count.listed.insert(record.id.clone());
            }
            if let Some(Window { from, .. }) = &self.list.window {
                let at = path::text(item, from).unwrap_or_default();
                if self.cut.is_known(&record.id, at) {
                    continue;
                }
            }
            if !record.is_deleted {
                records.push(record);
            }
        }
        Ok(records)
    }
}

impl Whole<'_> {
    /// Pages of an order that changes skip records, and show others twice.
    fn check_count(&self) -> Result<(), EndpointError> {
        let (listed, total) = (self.count.listed.len(), self.count.total);
        if listed >= total {
            return Ok(());
        }
        let text = format!(
            "{} listed {listed} of {total} records of {}: the list is read again",
            self.client.manifest.title, self.shape.label
        );
        Err(EndpointError::retry("list-incomplete", text))
    }
}

impl Cut {
    /// Whether the list before had this record, too.
    fn is_known(&mut self, id: &str, at: String) -> bool {
        if at != self.last {
            self.there.clear();
            self.last = at;
        }
        !self.there.insert(id.to_owned())
    }
}

fn pages<'a>(client: &'a Client, shape: &'a Shape, list: &'a List, from: &str) -> Pages<'a> {
    let listing = Listing {
        request: &list.request,
        items: &list.items,
        paging: &list.paging,
        size: list.page,
        kind: CallKind::Read,
    };
    let variables = shape.variables().with("from", from);
    Pages::new(client, shape.place.container(), listing, variables)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_stands_where_a_list_was_cut_is_told_once() {
        let mut cut = Cut::default();
        let seen = ["a 1", "b 2", "c 2", "b 2", "c 2", "d 2", "e 3"].map(|record| {
            let (id, at) = record.split_once(' ').unwrap();
            cut.is_known(id, at.to_owned())
        });
        assert_eq!(seen, [false, false, false, true, true, false, false]);
        assert_eq!(cut.last, "3");
    }
}
