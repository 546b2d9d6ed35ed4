//! The slots of a sync as `sync status` shows them: what each database keeps for it, and how long
//! that goes on.

use tidegate_shared::size;

use super::output::{self, or_dash, plain};
use crate::engine::report::SlotStatus;

/// A table, and one line for each warning.
pub(super) fn show(slots: &[SlotStatus]) {
    let headers = [
        "SIDE",
        "SLOT",
        "STATE",
        "WAL",
        "KEEPS",
        "OF AT MOST",
        "ROOM FOR",
        "LASTS",
    ];
    output::say(&output::render_table(
        &headers,
        slots.iter().map(row).collect(),
    ));
    for slot in slots {
        if let Some(warning) = &slot.warning {
            output::say(&plain(&format!("{}: {warning}", slot.side)));
        }
    }
}

fn row(slot: &SlotStatus) -> Vec<String> {
    let bytes = |bytes: Option<u64>| or_dash(bytes.map(size::rounded));
    let wal = (!slot.wal_status.is_empty()).then(|| match &slot.invalidation_reason {
        Some(reason) => format!("{} ({reason})", slot.wal_status),
        None => slot.wal_status.clone(),
    });
    vec![
        slot.side.clone(),
        or_dash((!slot.slot.is_empty()).then_some(&slot.slot)),
        slot.state.clone(),
        or_dash(wal),
        bytes(slot.retained_bytes),
        bytes(slot.bound_bytes),
        bytes(slot.runway_bytes),
        or_dash(slot.runway_hours.map(lasts)),
    ]
}

/// Hours as far as anybody plans.
fn lasts(hours: f64) -> String {
    match hours {
        hours if hours < 0.1 => format!("{:.0} min", hours * 60.0),
        hours if hours < 48.0 => format!("{hours:.1} h"),
        hours if hours < 24.0 * 365.0 => format!("{:.0} days", hours / 24.0),
        _ => "over a year".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_figure_of_a_slot_has_its_column() {
        let slot = SlotStatus {
            side: "left".into(),
            slot: "tidegate_blog_l".into(),
            state: "lost".into(),
            wal_status: "lost".into(),
            invalidation_reason: Some("wal_removed".into()),
            retained_bytes: Some(3 << 29),
            bound_bytes: Some(10 << 30),
            runway_bytes: None,
            runway_hours: Some(72.0),
            ..SlotStatus::default()
        };
        let shown = [
            "left",
            "tidegate_blog_l",
            "lost",
            "lost (wal_removed)",
            "1.5 GB",
            "10.0 GB",
            "-",
            "3 days",
        ];
        assert_eq!(row(&slot), shown);
        assert_eq!(row(&SlotStatus::default())[1..4], ["-", "", "-"]);
    }
}
