//! Networks that let only some of it through. The test runs all of it in a network of its own, whose packet filter is
//! the kernel's.

use std::{
    env, fs,
    process::{Command, Stdio},
    time::Duration,
};

use quics_stack::harness::{Device, wait};

use crate::support::{Pair, has, loudly, text, tool, until};

/// Set in the process that is inside.
const INSIDE: &str = "QUICS_TEST_NETWORK";

/// How long an agent may take to find the other way: a dead connection is noticed, UDP is tried, then TCP.
const SWITCH: Duration = Duration::from_secs(120);

#[test]
fn where_a_network_blocks_udp_devices_use_tcp_say_so_and_return_to_quic() {
    let test = "where_a_network_blocks_udp_devices_use_tcp_say_so_and_return_to_quic";
    if !has("nft", test) || !has("ip", test) {
        return;
    }
    // As a user of its own, who is root there: nobody needs rights outside for that.
    let own_network = |command: &mut Command| command.stdin(Stdio::null()).output().unwrap();
    let filter = ["-rn", "nft", "add", "table", "inet", "probe"];
    if !own_network(Command::new("unshare").args(filter)).status.success() {
        loudly(&format!("SKIPPED {test}: this kernel gives no network of its own with a packet filter"));
        return;
    }
    let inner = "network::inside";
    let mut command = Command::new("unshare");
    command.arg("-rn").arg(env::current_exe().unwrap()).args([inner, "--exact", "--ignored", "--nocapture"]);
    let ran = own_network(command.env(INSIDE, "1"));
    let said = format!("{}{}", String::from_utf8_lossy(&ran.stdout), String::from_utf8_lossy(&ran.stderr));
    assert!(ran.status.success() && said.contains("1 passed"), "{said}");
}

/// What runs inside.
#[test]
#[ignore = "it changes the network that it runs in: the test above runs it in one of its own"]
fn inside() {
    if env::var_os(INSIDE).is_none() {
        loudly("SKIPPED network::inside: it runs inside of another test only");
        return;
    }
    let run = |line: &str| {
        let words: Vec<&str> = line.split(' ').collect();
        tool(&env::temp_dir(), words[0], &words[1..])
    };
    run("ip link set lo up");
    run("nft add table inet filter");
    run("nft add chain inet filter input { type filter hook input priority 0 ; }");
    let pair = Pair::new();
    let by = |device: &Device, way: &str| device.status().unwrap()["connection"] == way;
    assert!(by(&pair.left, "quic") && by(&pair.right, "quic"));

    run("nft add rule inet filter input meta l4proto udp drop");
    for device in [&pair.left, &pair.right] {
        wait::until_true("the device to use TCP", SWITCH, || by(device, "tcp")).unwrap();
        assert!(device.quics(["status"]).unwrap().contains("connected over TCP (QUIC does not get through)"));
    }
    fs::write(pair.at("through tcp"), "t").unwrap();
    until("a file to arrive over TCP", || text(pair.on("through tcp")) == "t");
    pair.in_sync();
    // A device can join such a network, too.
    let third = Device::join(&pair.stack, "third").unwrap();
    wait::until_true("the new device to use TCP", SWITCH, || by(&third, "tcp")).unwrap();

    run("nft flush chain inet filter input");
    for device in [&pair.left, &pair.right, &third] {
        wait::until_true("the device to use QUIC again", SWITCH, || by(device, "quic")).unwrap();
        assert!(device.quics(["status"]).unwrap().contains("connected over QUIC"));
    }
    fs::write(pair.at("through quic"), "q").unwrap();
    until("a file to arrive over QUIC", || text(pair.on("through quic")) == "q");
    pair.in_sync();
}
