//! What a view of the data shows already of a history that is read from an earlier position.
//!
//! Only the replication protocol makes a slot together with a view of exactly its position. By SQL
//! the view is taken later; what committed in between is in both. The view knows the transactions
//! that it shows, so the capture leaves exactly these out. Kept within [`Position::cursor`] until
//! the capture is past the view. Pure.
//!
//! [`Position::cursor`]: tidegate_sync::model::Position::cursor

use super::replication::{format_lsn, parse_lsn};

/// The transactions that a view shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Shown {
    /// Whatever the view shows had committed before this LSN.
    pub until: u64,
    /// Older ones have ended: they are shown, if they have committed.
    xmin: u64,
    /// This and newer ones are not shown.
    xmax: u64,
    /// Those in between that were still running.
    running: Vec<u64>,
}

impl Shown {
    /// `snapshot` as `pg_current_snapshot()` prints it: `10:20:10,14`.
    pub(super) fn new(until: u64, snapshot: &str) -> Option<Shown> {
        let mut parts = snapshot.split(':');
        let (xmin, xmax) = (parts.next()?.parse().ok()?, parts.next()?.parse().ok()?);
        let running = parts.next()?.split(',').filter(|xid| !xid.is_empty());
        let running = running.map(|xid| xid.parse().ok()).collect::<Option<_>>()?;
        parts.next().is_none().then_some(Shown {
            until,
            xmin,
            xmax,
            running,
        })
    }

    /// The server's part of a cursor, and what the view shows if the capture is not past it yet.
    pub(super) fn split(cursor: &str) -> (&str, Option<Shown>) {
        let Some((server, rest)) = cursor.split_once(' ') else {
            return (cursor, None);
        };
        let shown = rest.split_once(' ').and_then(|(until, snapshot)| {
            let until = parse_lsn(until)?;
            Shown::new(until, snapshot)
        });
        (server, shown)
    }

    /// The inverse of [`Shown::split`].
    pub(super) fn join(&self, server: &str) -> String {
        let (xmin, xmax) = (self.xmin, self.xmax);
        let running: Vec<String> = self.running.iter().map(u64::to_string).collect();
        let running = running.join(",");
        format!(
            "{server} {} {xmin}:{xmax}:{running}",
            format_lsn(self.until)
        )
    }

    /// Is transaction `xid`, which has committed before `end_lsn`, in the view?
    pub(super) fn shows(&self, xid: u32, end_lsn: u64) -> bool {
        let xid = self.widen(xid);
        end_lsn <= self.until
            && (xid < self.xmin || xid < self.xmax && !self.running.contains(&xid))
    }

    /// The log knows the lower half of a transaction's number: it is the one nearest to the view.
    fn widen(&self, xid: u32) -> u64 {
        let distance = xid.wrapping_sub(self.xmax as u32) as i32;
        self.xmax.wrapping_add_signed(i64::from(distance))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_ran_or_began_after_the_view_is_not_in_it() {
        let shown = Shown::new(100, "10:20:10,14").unwrap();
        let is_shown = |xid| shown.shows(xid, 100);
        assert_eq!(
            [9, 10, 13, 14, 19, 20].map(is_shown),
            [true, false, true, false, true, false]
        );
        assert!(!shown.shows(9, 101), "committed after the view was taken");
    }

    #[test]
    fn numbers_of_transactions_wrap() {
        let wrap = 1u64 << 32;
        let text = format!("{}:{}:", wrap - 2, wrap + 2);
        let shown = Shown::new(9, &text).unwrap();
        let is_shown = |xid| shown.shows(xid, 9);
        assert_eq!(
            [u32::MAX, 0, 1, 2, 3].map(is_shown),
            [true, true, true, false, false]
        );
    }

    #[test]
    fn a_cursor_round_trips_with_and_without_a_view() {
        let shown = Shown::new(0x16_0000_0001, "10:20:10,14").unwrap();
        let cursor = shown.join("77:1");
        assert_eq!(Shown::split(&cursor), ("77:1", Some(shown)));
        assert_eq!(Shown::split("77:1"), ("77:1", None));
        for garbage in ["", "1", "1:2", "x:2:", "1:2:3:4", "1:2:x"] {
            assert_eq!(Shown::new(1, garbage), None, "{garbage}");
        }
    }
}
