//! The simulator: the real session against simulated sides and a simulated store, with every
//! failure that chance can bring between any two steps. No I/O, no clock; a seed is a whole world.
//!
//! `SIM_SEED=n cargo test -p tidegate-sync --test sim` replays one world and prints its log;
//! `SIM_SEEDS=n` runs that many worlds (`SIM_FROM` sets the first).
//!
//! Assumed of match keys: a side keeps them as they are (normalising one while a first copy is
//! interrupted would hide the copy from the next match).

mod app;
mod apply;
mod brief;
mod choices;
mod database;
mod driver;
mod edits;
mod found;
mod ledger;
mod links;
mod mirror;
mod oracle;
mod people;
mod plants;
mod rng;
mod scenario;
mod staged;
mod store;
mod twins;
mod undo;
mod values;
mod world;
mod writes;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

use world::{Plant, Summary, Troubles, World};

/// Worlds of a default run of each kind.
const SEEDS: u64 = 3_000;

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

/// Runs worlds until one breaks an invariant.
fn search(seeds: impl Iterator<Item = u64>, troubles: Troubles) {
    let mut worlds = 0;
    let mut total = Summary::default();
    for seed in seeds {
        let mut world = World::new(seed, troubles, Plant::None, false);
        let result = world.run();
        if let Ok(summary) = &result {
            worlds += 1;
            total.writes += summary.writes;
            total.conflicts += summary.conflicts;
            total.findings += summary.findings;
            total.crashes += summary.crashes;
            total.undos += summary.undos;
        }
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
    // Worlds in which nothing happens would hold every invariant, too.
    if worlds >= 1_000 {
        assert!(total.writes > worlds && total.conflicts > 0, "{total:?}");
        assert!(total.crashes > 0 || !troubles.crashes, "{total:?}");
        assert!(total.findings > 0 || !troubles.quirks, "{total:?}");
        let enough = total.undos as u64 > worlds / 2;
        assert!(enough == troubles.undos, "{total:?}");
    }
}

fn seeds() -> Box<dyn Iterator<Item = u64>> {
    if let Some(seed) = number("SIM_SEED") {
        return Box::new(std::iter::once(seed));
    }
    let from = number("SIM_FROM").unwrap_or(0);
    Box::new(from..from + number("SIM_SEEDS").unwrap_or(SEEDS))
}

#[test]
fn calm_worlds_hold_every_invariant() {
    search(seeds(), Troubles::NONE);
}

#[test]
fn quirky_worlds_hold_every_invariant() {
    let troubles = Troubles {
        quirks: true,
        ..Troubles::NONE
    };
    search(seeds(), troubles);
}

#[test]
fn crashing_worlds_hold_every_invariant() {
    let troubles = Troubles {
        quirks: true,
        crashes: true,
        ..Troubles::NONE
    };
    search(seeds(), troubles);
}

#[test]
fn forgetful_worlds_hold_every_invariant() {
    let troubles = Troubles {
        rekeys: false,
        ..Troubles::ALL
    };
    search(seeds(), troubles);
}

/// People change primary keys and match keys, and use deleted keys again, while both sides edit and
/// cases wait.
#[test]
fn rekeyed_worlds_hold_every_invariant() {
    let troubles = Troubles {
        quirks: true,
        rekeys: true,
        ..Troubles::NONE
    };
    search(seeds(), troubles);
}

/// People have the sync write for them, while it crashes and positions are lost.
#[test]
fn undone_worlds_hold_every_invariant() {
    let troubles = Troubles {
        rekeys: false,
        undos: true,
        ..Troubles::ALL
    };
    search(seeds(), troubles);
}

/// Match keys of two fields, and tables that refer to each other.
#[test]
fn shaped_worlds_hold_every_invariant() {
    let troubles = Troubles {
        quirks: true,
        crashes: true,
        shapes: true,
        ..Troubles::NONE
    };
    search(seeds(), troubles);
}

/// Nothing is deleted, so that any part of the sides' histories can be replayed.
#[test]
fn steady_worlds_hold_every_invariant() {
    let troubles = Troubles {
        quirks: true,
        crashes: true,
        steady: true,
        ..Troubles::NONE
    };
    search(seeds(), troubles);
}

/// One table of one side accepts nothing from us.
#[test]
fn broken_worlds_hold_every_invariant() {
    let troubles = Troubles {
        shapes: true,
        broken: true,
        ..Troubles::ALL
    };
    search(seeds(), troubles);
}

/// One side or both are apps: see `app`, and "Sides that are apps" in docs/sync-model.md.
#[test]
fn app_worlds_hold_every_invariant() {
    let troubles = Troubles {
        quirks: true,
        crashes: true,
        lost_positions: true,
        apps: true,
        ..Troubles::NONE
    };
    search(seeds(), troubles);
}

#[test]
fn worst_worlds_hold_every_invariant() {
    search(seeds(), Troubles::ALL);
}

/// Fields name records of the sync: of the other table, of their own, in circles, one or a list.
#[test]
fn linked_worlds_hold_every_invariant() {
    let troubles = Troubles {
        quirks: true,
        links: true,
        ..Troubles::NONE
    };
    search(seeds(), troubles);
}

/// The same while runs crash and positions are lost.
#[test]
fn linked_forgetful_worlds_hold_every_invariant() {
    let troubles = Troubles {
        rekeys: false,
        links: true,
        ..Troubles::ALL
    };
    search(seeds(), troubles);
}

/// The same while keys move.
#[test]
fn linked_rekeyed_worlds_hold_every_invariant() {
    let troubles = Troubles {
        quirks: true,
        rekeys: true,
        links: true,
        ..Troubles::NONE
    };
    search(seeds(), troubles);
}

/// All of it at once.
#[test]
fn linked_worst_worlds_hold_every_invariant() {
    let troubles = Troubles {
        links: true,
        ..Troubles::ALL
    };
    search(seeds(), troubles);
}

/// People edit the mapping of the running sync.
#[test]
fn edited_worlds_hold_every_invariant() {
    let troubles = Troubles {
        quirks: true,
        crashes: true,
        edits: true,
        ..Troubles::NONE
    };
    search(seeds(), troubles);
}

/// People are asked, and give no answer.
#[test]
fn asked_worlds_hold_every_invariant() {
    let troubles = Troubles {
        rekeys: false,
        questions: true,
        ..Troubles::ALL
    };
    search(seeds(), troubles);
}

/// Records come into filters and leave them.
#[test]
fn filtered_worlds_hold_every_invariant() {
    let troubles = Troubles {
        rekeys: false,
        filters: true,
        ..Troubles::ALL
    };
    search(seeds(), troubles);
}
