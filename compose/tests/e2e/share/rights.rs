//! Who may share what is in a root, see the links of others, and take them back.

use std::fs;
use std::process::Output;

use quics_stack::harness::feed;
use serde_json::Value;

use super::{closed, get};
use crate::support::{Ann, PATIENCE, Pair, has, refused, until};

impl Ann {
    fn share(&self, arguments: &[&str]) -> Output {
        let plan = self.folder.join("plan.txt");
        self.device.run(["share", plan.to_str().unwrap()].iter().chain(arguments)).unwrap()
    }

    fn links(&self) -> Vec<Value> {
        let said = self.device.quics(["shares", "--json"]).unwrap();
        said.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}

#[test]
fn a_root_says_who_shares_how_long_and_with_what_and_owners_see_and_end_all_links() {
    if !has("curl", "a_root_says_who_shares_how_long_and_with_what_and_owners_see_and_end_all_links") {
        return;
    }
    let pair = Pair::with(|folder| fs::write(folder.join("plan.txt"), "words").unwrap());
    let ann = Ann::of(&pair, "reader");
    until("her device to have it", || ann.folder.join("plan.txt").exists());
    let hers = ann.share(&["--label", "hers"]);
    let hers = String::from_utf8(hers.stdout).unwrap().trim().to_owned();
    assert_eq!(get(&format!("{hers}/get")).text(), "words", "at first every member may share");
    pair.share("plan.txt", &["--label", "his"]);
    let id = ann.links()[0]["id"].as_str().unwrap().to_owned();
    assert_eq!(ann.links().len(), 1, "she sees her own links only: {:?}", ann.links());
    assert_eq!(pair.links().len(), 2, "an owner sees all: {:?}", pair.links());
    let his = pair.links().into_iter().find(|link| link["label"] == "his").unwrap()["id"].as_str().unwrap().to_owned();
    refused(&ann.device.run(["unshare", &his]).unwrap(), &[&his]);
    refused(
        &ann.device.run(["share", "policy", ann.folder.to_str().unwrap(), "--sharers", "readers"]).unwrap(),
        &["a reader may not"],
    );

    pair.left.quics(["share", "policy", "docs", "--sharers", "writers", "--longest", "3d"]).unwrap();
    refused(&ann.share(&[]), &["may write"]);
    let longer = ann.device.run(["share", "edit", &id, "--expires", "2d"]).unwrap();
    refused(&longer, &["may write"]);
    Ann::role(&pair, "writer");
    until("her new role to count", || ann.share(&["--label", "second"]).status.success());
    refused(&ann.share(&["--expires", "4d"]), &["at most 3 days"]);
    refused(&ann.share(&["--expires", "never"]), &["at most 3 days"]);

    pair.left.quics(["share", "policy", "docs", "--password-required", "yes"]).unwrap();
    refused(&ann.share(&[]), &["password"]);
    let plan = ann.folder.join("plan.txt");
    let making = ann.device.command(["share", plan.to_str().unwrap(), "--password"]);
    assert!(feed(making, b"open sesame\n", PATIENCE).unwrap().status.success());

    // An owner ends what others have made; who left the root sees and makes none any more.
    pair.left.quics(["unshare", &id]).unwrap();
    assert_eq!(get(&hers).timeless(), closed(&hers));
    ann.device.quics(["unshare", ann.folder.to_str().unwrap(), "--all"]).unwrap();
    let open = pair.left.quics(["shares", "docs", "--json"]).unwrap();
    assert!(open.lines().count() == 1 && open.contains("\"his\""), "she has taken back hers: {open}");
    pair.left.quics(["unshare", "docs", "--all"]).unwrap();
    assert!(pair.left.quics(["shares", "docs", "--json"]).unwrap().is_empty(), "all are taken back");
    Ann::role(&pair, "none");
    until("her links to be no more of her business", || {
        ann.device.run(["shares", "--json"]).is_ok_and(|said| said.stdout.is_empty())
    });
    assert!(!ann.share(&[]).status.success());
}
