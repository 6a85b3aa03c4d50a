//! A root is rewound to moments of a random life, and compared with copies that were taken then.

use std::{fs, path::PathBuf};

use quics_stack::harness::tree;
use rand::{Rng as _, SeedableRng as _, rngs::StdRng, seq::IndexedRandom as _};

use super::{path, restore};
use crate::support::{PATIENCE, Pair, heavy, shows_tree};

/// The paths of everything in a folder, directories before what is in them.
fn walk(folder: &std::path::Path) -> Vec<PathBuf> {
    let all = tree::read(folder).unwrap();
    all.into_keys().filter(|path| !path.as_os_str().is_empty()).collect()
}

/// Something that a person does.
fn act(folder: &std::path::Path, random: &mut StdRng, step: usize) {
    let there = walk(folder);
    let directories: Vec<PathBuf> = there.iter().filter(|path| folder.join(path).is_dir()).cloned().collect();
    let name = format!("{}-{}", ["plan", "letter", "note"].choose(random).unwrap(), random.random_range(0..6));
    let fresh = match directories.choose(random) {
        Some(directory) if random.random_bool(0.6) => folder.join(directory).join(&name),
        _ => folder.join(&name),
    };
    let one = there.choose(random).map(|path| folder.join(path));
    match (random.random_range(0..8), one) {
        (0, Some(one)) if one.is_dir() => fs::remove_dir_all(one).unwrap(),
        (0, Some(one)) => fs::remove_file(one).unwrap(),
        // Into itself, or onto something else: not possible, and nothing then.
        (1 | 2, Some(one)) => drop(fs::rename(one, fresh)),
        (3, _) => drop(fs::create_dir(fresh)),
        (4, Some(one)) => {
            // Two change places.
            let other = folder.join(there.choose(random).unwrap());
            if !one.starts_with(&other) && !other.starts_with(&one) {
                let aside = folder.join("aside");
                fs::rename(&one, &aside).unwrap();
                fs::rename(&other, &one).unwrap();
                fs::rename(&aside, &other).unwrap();
            }
        }
        _ if fresh.is_dir() => {}
        _ => {
            let length = if random.random_bool(0.1) { 50_000 } else { 20 };
            fs::write(fresh, format!("step {step}\n").repeat(length / 8)).unwrap();
        }
    }
}

#[test]
fn a_root_is_rewound_to_any_moment_of_a_random_life() {
    let moments = if heavy("50 moments of a life (done with 12)") { 50 } else { 12 };
    let seed = 20_261_123;
    let mut random = StdRng::seed_from_u64(seed);
    let pair = Pair::new();
    let mut kept = Vec::new();
    for step in 0..moments {
        for part in 0..4 {
            act(&pair.here, &mut random, step * 4 + part);
        }
        pair.settle();
        kept.push((pair.commit(), tree::read(&pair.here).unwrap()));
    }
    pair.known();
    for round in 0..moments {
        let (commit, then) = kept.choose(&mut random).unwrap();
        let device = if round % 2 == 0 { &pair.left } else { &pair.right };
        let folder = if round % 2 == 0 { &pair.here } else { &pair.there };
        restore(device, &[path(folder), "--at", &format!("#{commit}")]);
        println!("round {round}: back to {commit}");
        shows_tree(then, &pair.here, PATIENCE);
        shows_tree(then, &pair.there, PATIENCE);
        pair.known();
    }
}
