//! The simulator: the real session against simulated sides and a simulated store, with every
//! failure that chance can bring between any two steps. No I/O, no clock; a seed is a whole world.
//!
//! `SIM_SEED=n cargo test -p tidegate-sync --test sim` replays one world and prints its log;
//! `SIM_SEEDS=n` runs that many worlds (`SIM_FROM` sets the first).
//!
//! Assumed of match keys: a side keeps them as they are (normalising one while a first copy is
//! interrupted would hide the copy from the next match).

mod database;
mod driver;
mod found;
mod mirror;
mod oracle;
mod plants;
mod rng;
mod scenario;
mod store;
mod values;
mod world;

use world::{Plant, Troubles, World};

/// Worlds of a default run of each kind.
const SEEDS: u64 = 6_000;

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

/// Runs worlds until one breaks an invariant.
fn search(seeds: impl Iterator<Item = u64>, troubles: Troubles) {
    for seed in seeds {
        let mut world = World::new(seed, troubles, Plant::None, false);
        let result = world.run();
        if let (Err(violation), true) = (&result, number("SIM_KEEP_GOING").is_some()) {
            println!(
                "seed {seed} breaks {}: {:.150}",
                violation.invariant, violation.what
            );
            continue;
        }
        if let Err(violation) = result {
            let mut again = World::new(seed, troubles, Plant::None, true);
            let _ = again.run();
            for line in again.log.unwrap_or_default() {
                println!("{line}");
            }
            for (pair, policy) in again.scenario.pairs() {
                println!("{pair:?} {}", scenario::brief(policy));
            }
            println!("left {:?}", again.scenario.quirks.left);
            println!("right {:?}", again.scenario.quirks.right);
            panic!(
                "seed {seed} breaks {}: {}",
                violation.invariant, violation.what
            );
        }
    }
}

fn seeds() -> Box<dyn Iterator<Item = u64>> {
    if let Some(seed) = number("SIM_SEED") {
        return Box::new(std::iter::once(seed));
    }
    let from = number("SIM_FROM").unwrap_or(0);
    Box::new(from..from + number("SIM_SEEDS").unwrap_or(SEEDS))
}

const QUIRKY: Troubles = Troubles {
    quirks: true,
    ..Troubles::NONE
};

const CRASHING: Troubles = Troubles {
    crashes: true,
    ..QUIRKY
};

const FORGETFUL: Troubles = Troubles {
    lost_positions: true,
    ..CRASHING
};

#[test]
fn calm_worlds_hold_every_invariant() {
    search(seeds(), Troubles::NONE);
}

#[test]
fn quirky_worlds_hold_every_invariant() {
    search(seeds(), QUIRKY);
}

#[test]
fn crashing_worlds_hold_every_invariant() {
    search(seeds(), CRASHING);
}

#[test]
fn forgetful_worlds_hold_every_invariant() {
    search(seeds(), FORGETFUL);
}

/// `SIM_LEVEL=rekeyed` or `worst` search worlds in which people also move records to other keys
/// all the time: what is known to break there (about one world in twenty) is still being worked
/// through, so that they are no part of the default run.
#[test]
fn chosen_worlds_hold_every_invariant() {
    let level = std::env::var("SIM_LEVEL").unwrap_or_default();
    let troubles = match level.as_str() {
        "worst" => Troubles::ALL,
        "rekeyed" => Troubles {
            rekeys: true,
            ..QUIRKY
        },
        _ => return,
    };
    search(seeds(), troubles);
}
