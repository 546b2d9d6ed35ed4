//! Runs an entry on every committed seed of its target and on thousands of mutations of each, the
//! same ones in every run. The agent's tests include it, too.

use std::path::Path;

use super::Chance;

const MUTATIONS_PER_SEED: usize = 2_000;
/// Changes made to one input, at most.
const CHANGES_MAX: usize = 4;
/// An input grows to this many bytes at most: what is longer only takes longer.
const INPUT_BYTES_MAX: usize = 2_048;

pub fn check(target: &'static str, entry: fn(&[u8])) {
    let seeds = seeds(target);
    let mut chance = Chance::seeded(1);
    for (name, seed) in &seeds {
        run(target, name, seed, entry);
        for _ in 0..MUTATIONS_PER_SEED {
            run(target, name, &mutated(seed, &seeds, &mut chance), entry);
        }
    }
}

/// In the order of their names, so that every run makes the same mutations.
fn seeds(target: &str) -> Vec<(String, Vec<u8>)> {
    // The tests of the agent run in its own folder, beside the relay's.
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../relay/fuzz/seeds");
    let mut seeds: Vec<(String, Vec<u8>)> = std::fs::read_dir(folder.join(target))
        .unwrap()
        .map(|entry| entry.unwrap())
        .map(|entry| {
            let name = entry.file_name().into_string().unwrap();
            (name, std::fs::read(entry.path()).unwrap())
        })
        .collect();
    seeds.sort();
    assert!(!seeds.is_empty());
    seeds
}

/// Says which input it was when the entry panics.
struct Told<'a> {
    target: &'a str,
    seed: &'a str,
    input: &'a [u8],
}

impl Drop for Told<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let input = self.input.escape_ascii();
            eprintln!("{}, mutated from {}: b\"{input}\"", self.target, self.seed);
        }
    }
}

fn run(target: &str, seed: &str, input: &[u8], entry: fn(&[u8])) {
    let _told = Told {
        target,
        seed,
        input,
    };
    entry(input);
}

fn mutated(seed: &[u8], all: &[(String, Vec<u8>)], chance: &mut Chance) -> Vec<u8> {
    let mut bytes = seed.to_vec();
    for _ in 0..=chance.below(CHANGES_MAX) {
        change(&mut bytes, all, chance);
    }
    bytes.truncate(INPUT_BYTES_MAX);
    bytes
}

fn change(bytes: &mut Vec<u8>, all: &[(String, Vec<u8>)], chance: &mut Chance) {
    /// Where lengths and counts go wrong.
    const EDGES: [u32; 9] = [0, 1, 3, 4, 0x7f, 0xff, 0xffff, 0x7fff_ffff, u32::MAX];
    let at = chance.below(bytes.len() + 1);
    let kind = chance.below(7);
    match kind {
        0 => bytes.insert(at, chance.next() as u8),
        1 => bytes.truncate(at),
        // The rest of another seed from here on.
        2 => {
            let (_, other) = chance.one_of(all);
            bytes.truncate(at);
            bytes.extend_from_slice(&other[chance.below(other.len() + 1)..]);
        }
        // A part twice.
        3 => {
            let part = bytes[at..].to_vec();
            bytes.extend(part);
        }
        _ if at == bytes.len() => bytes.push(chance.next() as u8),
        4 => bytes[at] ^= 1 << chance.below(8),
        5 => bytes[at] = *chance.one_of(&EDGES) as u8,
        _ => {
            let edge = chance.one_of(&EDGES).to_be_bytes();
            let room = (bytes.len() - at).min(edge.len());
            bytes[at..at + room].copy_from_slice(&edge[edge.len() - room..]);
        }
    }
}
