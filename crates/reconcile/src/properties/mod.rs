//! Properties of the rules over random trees: what devices have is changed on each of them, then everything comes to
//! rest, is answered, and comes to rest again.
//!
//! `QUICS_RECONCILE_CASES` asks for more cases, `QUICS_RECONCILE_FIRST` for others; a failure names its case.

mod device;
mod disk;
mod server;

use std::collections::BTreeSet;

use quics_types::Name;

use self::device::Device;
use self::disk::{Contents, STAGE, TOP, content};
use self::server::Server;
use crate::{Value, testing};

/// Rounds after which everything is at rest; with more than that, devices would go on for ever.
const ROUNDS: usize = 40;

/// Numbers that follow from a seed (xorshift64*, Vigna 2016).
pub(crate) struct Draw(u64);

impl Draw {
    fn new(seed: u64) -> Self {
        Self(seed.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    /// A number from 0 up to but without `end`.
    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let number = self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33;
        usize::try_from(number).unwrap() % end
    }
}

/// Names its case when that fails.
struct Case(u64);

impl Drop for Case {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("case {} fails: QUICS_RECONCILE_FIRST={} QUICS_RECONCILE_CASES=1", self.0, self.0);
        }
    }
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

fn cases(count: u64, devices: usize) {
    let first = number("QUICS_RECONCILE_FIRST").unwrap_or(0);
    for case in first..first + number("QUICS_RECONCILE_CASES").unwrap_or(count) {
        let named = Case(case);
        one(case, devices);
        drop(named);
    }
}

fn come_to_rest(server: &mut Server, devices: &mut [Device]) {
    for _ in 0..ROUNDS {
        let mut did = false;
        for device in devices.iter_mut() {
            did |= device.round(server);
        }
        if !did {
            return;
        }
    }
    panic!("no rest in {ROUNDS} rounds");
}

fn one(case: u64, devices: usize) {
    let (mut draw, mut contents, mut server) = (Draw::new(case), Contents::default(), Server::default());
    let mut devices: Vec<Device> =
        (0..devices).map(|it| Device::new(testing::device(u8::try_from(it).unwrap() + 1))).collect();
    for _ in 0..draw.below(8) {
        devices[0].disk.perturb(0, &mut draw, &mut contents);
    }
    come_to_rest(&mut server, &mut devices);
    assert!(server.plain.conflicts.is_empty(), "one device has nobody to disagree with");
    check_equal(&server, &devices);

    // Two or three go on by themselves, perhaps for several times.
    for _ in 0..1 + draw.below(2) {
        for (who, device) in devices.iter_mut().enumerate() {
            for _ in 0..draw.below(5) {
                device.disk.perturb(who, &mut draw, &mut contents);
            }
        }
        come_to_rest(&mut server, &mut devices);
        check_kept(&server, &devices, &contents);
        check_gone(&server, &contents);
        check_once(&server, &contents);
        check_quiet(&mut server, &mut devices);
    }

    // Whoever always lets the server's stand is not asked for long.
    let (stubborn, rounds) = if draw.below(2) == 0 { (true, 3) } else { (false, 20) };
    for _ in 0..rounds {
        if server.plain.conflicts.is_empty() {
            break;
        }
        contents.known.extend(server.answer_all(&mut draw, stubborn));
        come_to_rest(&mut server, &mut devices);
    }
    assert!(server.plain.conflicts.is_empty(), "answers lead to new questions for ever");
    check_kept(&server, &devices, &contents);
    check_once(&server, &contents);
    check_quiet(&mut server, &mut devices);
    check_equal(&server, &devices);
}

/// What was written, and neither removed by a user nor decided about by a person, is in the tree or a candidate.
///
/// One kind is left out: a content that users of several devices moved. Where one moved it from a name to another and
/// another back, each name in turn is unchanged since its base and takes the other's newer side, as the three-way rule
/// says. It stays in the versions.
fn check_kept(server: &Server, devices: &[Device], contents: &Contents) {
    let mut there: BTreeSet<u8> = server.kept();
    // What waits behind a question is on its device's disk, perhaps parked until its own directory has a place again.
    for device in devices.iter().filter(|_| !server.plain.conflicts.is_empty()) {
        let below = [TOP, STAGE].map(|top| device.disk.walk(top)).concat();
        there.extend(below.iter().filter_map(|(_, _, inode)| content(&device.disk.items[inode].value)));
    }
    let gone: Vec<u8> = (1..=contents.written).filter(|it| !there.contains(it) && !contents.spared(*it)).collect();
    assert!(gone.is_empty(), "contents are gone: {gone:?}");
}

/// What a user removed, and nobody moved or asks about, does not come back.
fn check_gone(server: &Server, contents: &Contents) {
    let rows = server.plain.rows.values().filter(|row| !row.dead && !server.plain.conflicts.contains_key(&row.id));
    let back: Vec<u8> = rows.filter_map(|row| content(&row.value)).filter(|it| contents.stays_away(*it)).collect();
    assert!(back.is_empty(), "contents that a user removed are back: {back:?}");
}

/// What nobody moved is in one place. A directory that was put aside is new, with everything in it.
fn check_once(server: &Server, contents: &Contents) {
    let mut seen = BTreeSet::new();
    let aside = |path: &[Name]| path.iter().any(|name| name.to_string().contains("(kept from"));
    let there =
        server.view().into_iter().filter(|(path, _)| !aside(path)).filter_map(|(_, (value, _))| content(&value));
    let twice: Vec<u8> = there.filter(|it| !seen.insert(*it) && !contents.was_moved(*it)).collect();
    assert!(twice.is_empty(), "contents are in two places: {twice:?}");
}

/// Whoever is at rest and looks at everything again has nothing to do.
fn check_quiet(server: &mut Server, devices: &mut [Device]) {
    for device in devices {
        assert_eq!(device.again(server), 0, "a plan that was carried out is made again");
    }
}

fn check_equal(server: &Server, devices: &[Device]) {
    for device in devices {
        assert_eq!(device.view(), server.view(), "a device has not what the server has");
    }
}

#[test]
fn of_a_directory_that_one_device_removed_and_another_added_to_only_the_addition_comes_back() {
    let mut server = Server::default();
    let mut devices = [1, 2].map(|it| Device::new(testing::device(it)));
    let [first, _] = &mut devices;
    // A directory with members of each kind, one of which is such a directory too.
    let outer = first.disk.put(TOP, "outer", Value::Directory);
    let inner = first.disk.put(outer, "inner", Value::Directory);
    for dir in [outer, inner] {
        first.disk.put(dir, "file", testing::file(1));
        first.disk.put(dir, "empty", Value::Directory);
        first.disk.put(dir, "link", testing::link("t"));
    }
    come_to_rest(&mut server, &mut devices);

    let [first, second] = &mut devices;
    first.disk.members(TOP).remove(&testing::name("outer"));
    let inner = second.disk.at(&["outer", "inner"]);
    second.disk.put(inner, "added", testing::file(2));
    come_to_rest(&mut server, &mut devices);
    check_equal(&server, &devices);
    let left: Vec<String> =
        server.view().into_keys().map(|path| path.iter().map(|it| format!("/{it}")).collect()).collect();
    assert_eq!(left, ["/outer", "/outer/inner", "/outer/inner/added"]);
    assert!(server.plain.conflicts.is_empty());
}

#[test]
fn what_was_written_over_a_directory_is_asked_about_when_what_left_the_directory_may_not_leave() {
    let mut server = Server::default();
    let mut devices = [1, 2].map(|it| Device::new(testing::device(it)));
    let [first, _] = &mut devices;
    first.disk.put(TOP, "a", testing::link("t"));
    let outer = first.disk.put(TOP, "c", Value::Directory);
    first.disk.put(outer, "c", Value::Directory);
    come_to_rest(&mut server, &mut devices);

    // One moves `a` into the inner directory. The other makes two names change places and writes to what is `c` now; so
    // the inner directory would go into `a`, which is in it.
    let [first, second] = &mut devices;
    let (link, inner) = (first.disk.at(&["a"]), first.disk.at(&["c", "c"]));
    first.disk.members(TOP).remove(&testing::name("a"));
    first.disk.members(inner).insert(testing::name("b"), link);
    let (link, outer) = (second.disk.at(&["a"]), second.disk.at(&["c"]));
    second.disk.members(TOP).insert(testing::name("a"), outer);
    second.disk.members(TOP).insert(testing::name("c"), link);
    second.disk.items.get_mut(&link).unwrap().value = testing::file(1);
    come_to_rest(&mut server, &mut devices);
    assert_eq!(server.plain.conflicts.len(), 1);
    assert_eq!(server.kept(), BTreeSet::from([1]), "the file is a candidate");
    check_quiet(&mut server, &mut devices);

    server.answer_all(&mut Draw::new(0), true);
    come_to_rest(&mut server, &mut devices);
    check_equal(&server, &devices);
    assert!(server.plain.conflicts.is_empty());
}

/// Puts something in the place of what has a name, as a user does.
fn put_over(device: &mut Device, at: &str, value: Value, mode: u32) -> u64 {
    device.disk.members(TOP).remove(&testing::name(at));
    let inode = device.disk.put(TOP, at, value);
    device.disk.items.get_mut(&inode).unwrap().mode = mode;
    inode
}

/// Has every question answered for the server.
fn settle(server: &mut Server, devices: &mut [Device]) {
    assert_eq!(server.plain.conflicts.len(), 1);
    server.answer_all(&mut Draw::new(0), true);
    come_to_rest(server, devices);
    check_quiet(server, devices);
    check_equal(server, devices);
}

#[test]
fn bits_that_a_file_has_in_common_with_the_directory_before_it_reach_a_device_with_a_file_of_its_own() {
    let mut server = Server::default();
    let mut devices = [1, 2].map(|it| Device::new(testing::device(it)));
    put_over(&mut devices[0], "a", testing::file(1), 0o644);
    come_to_rest(&mut server, &mut devices);

    put_over(&mut devices[0], "a", Value::Directory, 0o755);
    put_over(&mut devices[1], "a", testing::file(2), 0o644);
    come_to_rest(&mut server, &mut devices);
    put_over(&mut devices[0], "a", testing::file(3), 0o755);
    put_over(&mut devices[1], "a", testing::file(4), 0o644);
    come_to_rest(&mut server, &mut devices);
    settle(&mut server, &mut devices);
    assert_eq!(server.view()[&vec![testing::name("a")]], (testing::file(3), 0o755));
}

#[test]
fn bits_that_came_for_a_file_while_a_directory_was_here_are_not_taken_for_those_of_a_later_file() {
    let mut server = Server::default();
    let mut devices = [1, 2].map(|it| Device::new(testing::device(it)));
    put_over(&mut devices[0], "a", Value::Directory, 0o755);
    come_to_rest(&mut server, &mut devices);

    put_over(&mut devices[0], "a", testing::file(1), 0o644);
    let here = devices[1].disk.at(&["a"]);
    devices[1].disk.put(here, "new", testing::file(2));
    come_to_rest(&mut server, &mut devices);
    put_over(&mut devices[1], "a", testing::file(3), 0o755);
    come_to_rest(&mut server, &mut devices);
    settle(&mut server, &mut devices);
}

#[test]
fn two_devices_agree_after_whatever_their_users_did() {
    cases(60_000, 2);
}

#[test]
fn three_devices_agree_after_whatever_their_users_did() {
    cases(40_000, 3);
}

#[test]
fn an_edit_of_something_deleted_that_comes_in_with_its_directory_made_again_is_not_asked_about_as_well() {
    one(141_652, 2);
}
