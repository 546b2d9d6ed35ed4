//! One look at both sides, at one moment of each: hashes first, then the records of those blocks
//! that the hashes tell apart.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use tidegate_sync::decide::{Match, Scanned};
use tidegate_sync::model::{BySide, PairId, Side};
use tokio::sync::mpsc;

use super::compare::{difference, is_left_out};
use super::repair::Repairs;
use super::{How, Verified};
use crate::endpoint::digest::{Blocks, Digest};
use crate::endpoint::{Snapshot, Wanted};
use crate::engine::limits::{VERIFY_DIFFERENCES_MAX, VERIFY_PAGE};
use crate::engine::mapping::Mapping;
use crate::engine::named::Linked;
use crate::engine::preview::views;
use crate::engine::report::{Difference, VerifyReport};
use crate::engine::run::{RunError, RunParts, check_mapping};
use crate::engine::scan::{Part, Scanner};
use crate::engine::supervisor::Progress;
use crate::store::scans::{Cursor, Page, Scan};

/// What the looks before have left of one table pair.
#[derive(Clone, Debug)]
pub(super) enum Scope {
    /// Nobody has looked yet.
    All,
    /// This part had differences; beside it, so many records were equal.
    Part(Part, u64),
}

/// What is known of one table pair after a look.
#[derive(Default)]
struct Found {
    records: u64,
    differences: Vec<Difference>,
    difference_count: u64,
}

/// Looks at what `scopes` leaves, and narrows it to what differs.
pub(super) async fn look(
    parts: &RunParts,
    how: How,
    progress: &Progress,
    scopes: &mut Vec<Scope>,
) -> Result<Verified, RunError> {
    let mapping = &check_mapping(parts).await?;
    let views = views(parts, mapping, "verify").await?;
    if scopes.len() != mapping.pairs.len() {
        *scopes = vec![Scope::All; mapping.pairs.len()];
    }
    let looker = Looker {
        parts,
        mapping,
        views,
        progress,
    };
    let mut report = VerifyReport {
        sync: mapping.name.clone(),
        left_position: position(looker.views.left.position().offset),
        right_position: position(looker.views.right.position().offset),
        ..VerifyReport::default()
    };
    let mut reading = Vec::with_capacity(scopes.len());
    for (number, scope) in scopes.iter().enumerate() {
        reading.push(match scope {
            Scope::All => looker.narrow(PairId(number as u32), how).await?,
            Scope::Part(part, equal) => (part.clone(), *equal),
        });
    }
    let (read, equal): (Vec<Part>, Vec<u64>) = reading.into_iter().unzip();
    let mut repairs = Repairs::of(mapping);
    let found = looker.compare(&read, how, &mut repairs).await?;
    for (number, ((part, equal), found)) in read.into_iter().zip(equal).zip(found).enumerate() {
        report.records += equal + found.records;
        report.difference_count += found.difference_count;
        scopes[number] = match found.difference_count {
            0 => Scope::Part(Part::Nothing, equal + found.records),
            _ => Scope::Part(part, equal),
        };
        report.differences.extend(found.differences);
    }
    report.equal = report.difference_count == 0;
    for sample in std::mem::take(&mut repairs.wanted) {
        let pair = sample.pair.0 as usize;
        let sample = sample.read(&mapping.pairs[pair], &looker.views).await?;
        repairs.tables[pair].samples.push(sample);
    }
    report.repair = how.repair.then_some(repairs.tables);
    Ok(Verified {
        report,
        doubts: repairs.doubts,
    })
}

struct Looker<'a> {
    parts: &'a RunParts,
    mapping: &'a Mapping,
    views: BySide<Arc<dyn Snapshot>>,
    progress: &'a Progress,
}

impl Looker<'_> {
    /// What must be read of a table pair, and how many records need not be, because the sides say
    /// that they are equal.
    async fn narrow(&self, pair: PairId, how: How) -> Result<(Part, u64), RunError> {
        // References are equal if they name partners, which no hash tells.
        let is_linked = !self.mapping.pairs[pair.0 as usize]
            .policy
            .references
            .is_empty();
        if how.full || is_linked {
            return self.all_of(pair).await;
        }
        let (left, right) = tokio::try_join!(
            async { self.failing(Side::Left, self.views.left.digestible(pair).await) },
            async { self.failing(Side::Right, self.views.right.digestible(pair).await) },
        )?;
        let (Some(left), Some(right)) = (left, right) else {
            return self.all_of(pair).await;
        };
        if !left.agrees_with(&right) {
            return self.all_of(pair).await;
        }
        let records = self.expect(pair).await?;
        // Where the sides' records are the same ones, those of one side have different keys if
        // those of the other do.
        let blocks = Blocks::of(records, !left.key_is_unique && !right.key_is_unique);
        let (left, right) = tokio::try_join!(
            self.digests(Side::Left, pair, blocks),
            self.digests(Side::Right, pair, blocks),
        )?;
        Ok(narrowed(blocks, &left, &right))
    }

    async fn all_of(&self, pair: PairId) -> Result<(Part, u64), RunError> {
        self.expect(pair).await?;
        Ok((Part::Whole, 0))
    }

    /// About how many records the left side has, for the progress of both.
    async fn expect(&self, pair: PairId) -> Result<u64, RunError> {
        let records = self.failing(Side::Left, self.views.left.estimate(pair).await)?;
        self.progress.note_expected(2 * records);
        Ok(records)
    }

    async fn digests(
        &self,
        side: Side,
        pair: PairId,
        blocks: Blocks,
    ) -> Result<HashMap<i32, Digest>, RunError> {
        let (sender, mut parts) = mpsc::channel(1);
        let mut digests: HashMap<i32, Digest> = HashMap::new();
        let ask = async { self.failing(side, self.views[side].digest(pair, blocks, sender).await) };
        let take = async {
            while let Some(part) = parts.recv().await {
                let records = part.iter().map(|(_, digest)| digest.records).sum();
                self.progress.note_scanned(side, pair.0 as usize, records);
                for (number, digest) in part {
                    digests.entry(number).or_default().add(&digest);
                }
            }
            Ok(())
        };
        tokio::try_join!(ask, take)?;
        Ok(digests)
    }

    /// Reads these parts and compares their records.
    async fn compare(
        &self,
        read: &[Part],
        how: How,
        repairs: &mut Repairs,
    ) -> Result<Vec<Found>, RunError> {
        let mut all = Vec::with_capacity(read.len());
        if read.iter().all(|part| *part == Part::Nothing) {
            all.resize_with(read.len(), Found::default);
            return Ok(all);
        }
        let scan = Scan::aside(&self.parts.store, self.parts.sync, "verify").await?;
        let scanner = Scanner {
            mapping: self.mapping,
            prints: &self.parts.prints,
            progress: self.progress,
        };
        scanner.read(&scan, &self.views, read).await?;
        scan.finish_part().await?;
        for (number, part) in read.iter().enumerate() {
            let pair = PairId(number as u32);
            let repairs = how.repair.then_some(&mut *repairs);
            all.push(self.compare_pair(&scan, (pair, part), repairs).await?);
        }
        Ok(all)
    }

    async fn compare_pair(
        &self,
        scan: &Scan,
        (pair, part): (PairId, &Part),
        mut repairs: Option<&mut Repairs>,
    ) -> Result<Found, RunError> {
        let mut found = Found::default();
        if *part == Part::Nothing {
            return Ok(found);
        }
        let mapped = &self.mapping.pairs[pair.0 as usize];
        let mut cursor = Cursor::START;
        loop {
            let mut page = scan.matches(pair, cursor, VERIFY_PAGE).await?;
            if *part != Part::Whole {
                self.complete(pair, &mut page).await?;
            }
            let linked = Linked {
                scan,
                left: &*self.views.left,
                prints: &self.parts.prints,
            };
            let same = linked.same((pair, &mapped.policy), &page).await?;
            for (one, same) in page.found.iter().zip(&same) {
                let is_anything = Side::BOTH.iter().any(|&side| one.scanned[side].is_some());
                if !is_anything || is_left_out(mapped, &self.parts.prints, one) {
                    continue;
                }
                found.records += 1;
                let Some(difference) = difference(mapped, one, same) else {
                    continue;
                };
                found.difference_count += 1;
                if let Some(repairs) = &mut repairs {
                    repairs.add((pair, mapped), &self.parts.prints, (one, same));
                }
                if found.differences.len() < VERIFY_DIFFERENCES_MAX {
                    found.differences.push(difference);
                }
            }
            if page.done {
                return Ok(found);
            }
            cursor = page.next;
        }
    }

    /// A linked record whose counterpart is in a block that was not read: it is read by its key.
    async fn complete(&self, pair: PairId, page: &mut Page) -> Result<(), RunError> {
        for side in Side::BOTH {
            let lacks = |found: &Match| {
                let is_there = found.scanned[side.other()].is_some();
                let key = found.link.as_ref()?.keys[side].clone()?;
                (is_there && found.scanned[side].is_none()).then_some(key)
            };
            let lacking: Vec<usize> = (0..page.found.len())
                .filter(|&at| lacks(&page.found[at]).is_some())
                .collect();
            let wanted: Vec<Wanted> = lacking
                .iter()
                .filter_map(|&at| lacks(&page.found[at]))
                .map(|key| Wanted { key, place: None })
                .collect();
            if wanted.is_empty() {
                continue;
            }
            let rows = self.failing(side, self.views[side].fetch(pair, &wanted).await)?;
            for ((at, wanted), row) in lacking.into_iter().zip(wanted).zip(rows) {
                page.found[at].scanned[side] = row.map(|row| Scanned {
                    key: wanted.key,
                    fingerprints: self.parts.prints.row(&row),
                });
            }
        }
        Ok(())
    }

    fn failing<T>(
        &self,
        side: Side,
        answer: Result<T, crate::endpoint::EndpointError>,
    ) -> Result<T, RunError> {
        answer.map_err(|source| RunError::Side { side, source })
    }
}

/// The blocks that must be read, and the number of records in the others.
///
/// Read are those whose hashes differ, those whose records share match keys (which of them belong
/// together only the links tell), and records without a match key, which may be findings.
fn narrowed(
    blocks: Blocks,
    left: &HashMap<i32, Digest>,
    right: &HashMap<i32, Digest>,
) -> (Part, u64) {
    let numbers: BTreeSet<i32> = left.keys().chain(right.keys()).copied().collect();
    let (mut differing, mut equal, mut differing_records) = (Vec::new(), 0, 0);
    for number in numbers {
        let of = |digests: &HashMap<i32, Digest>| digests.get(&number).copied().unwrap_or_default();
        let (left, right) = (of(left), of(right));
        let shares_keys = blocks.counts_keys && left.keys < left.records;
        if left == right && number != Blocks::WITHOUT_KEY && !shares_keys {
            equal += left.records;
        } else {
            differing.push(number);
            differing_records += left.records.max(right.records);
        }
    }
    match differing.is_empty() {
        true => (Part::Nothing, equal),
        // To read all of it is quicker than to pick out most of it.
        false if differing_records > equal => (Part::Whole, 0),
        false => (Part::Blocks(blocks, differing), equal),
    }
}

/// PostgreSQL's way to write a position.
fn position(offset: u64) -> String {
    format!("{:X}/{:X}", offset >> 32, offset & 0xffff_ffff)
}
