//! The service as a process that can be killed and weighed.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use quics_chunks::{Packed, inline_content};
use quics_quic::{Server, ServerConfig};
use quics_types::Digest;
use tokio_util::sync::CancellationToken;

use crate::server::{A, B, Ca, Client, ROOT, Roles, open, read_server};
use crate::session::{Push, Watch, create, fetch, file, find_missing, large, push, row, snapshot, upload};

/// Names the directory of a test that runs the server.
const DIRECTORY: &str = "SYNC_SVC_TEST_DIRECTORY";

/// Not a test by itself: the body of the server process. It ends when it is killed, or when its parent's end closes its
/// standard input.
#[test]
fn server_process() {
    let Some(directory) = std::env::var_os(DIRECTORY).map(PathBuf::from) else { return };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let shutdown = CancellationToken::new();
        let server = Server::bind(ServerConfig::new(read_server(&directory)), ([127, 0, 0, 1], 0).into()).unwrap();
        let (service, _meta) = open(&directory, Roles::usual(), Arc::new(()), 0, &shutdown);
        tokio::spawn(service.clone().announcing());
        std::fs::write(directory.join("address.new"), server.local_addr().to_string()).unwrap();
        std::fs::rename(directory.join("address.new"), directory.join("address")).unwrap();
        std::thread::spawn(|| {
            std::io::copy(&mut std::io::stdin(), &mut std::io::sink()).unwrap();
            std::process::exit(0);
        });
        server.serve(sync_svc::routes(&service), shutdown).await.unwrap();
    });
}

struct Process {
    child: Child,
    address: SocketAddr,
}

impl Process {
    async fn start(directory: &Path) -> Self {
        drop(std::fs::remove_file(directory.join("address")));
        let child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "child::server_process", "--nocapture"])
            .env(DIRECTORY, directory)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let mut process = Self { child, address: ([127, 0, 0, 1], 0).into() };
        for _ in 0..6000 {
            if let Ok(address) = std::fs::read_to_string(directory.join("address")) {
                process.address = address.parse().unwrap();
                return process;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        panic!("the server does not come up");
    }

    fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// The most memory that the process ever had resident, in MiB.
    fn peak_memory(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
        let kib: u64 = line.split_whitespace().nth(1).unwrap().parse().unwrap();
        kib / 1024
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

async fn put_and_get(client: &mut Client, packed: &[Packed]) {
    let digests: Vec<_> = packed.iter().map(|chunk| chunk.digest).collect();
    for some in digests.chunks(4096) {
        find_missing(client, ROOT, some).await.unwrap();
    }
    assert_eq!(upload(client, ROOT, packed).await.unwrap(), packed.len() as u64);
    for (some, sent) in digests.chunks(512).zip(packed.chunks(512)) {
        let fetched = fetch(client, ROOT, some).await;
        assert!(fetched.end.is_none(), "{:?}", fetched.end);
        let same = fetched.chunks.iter().zip(sent).all(|(chunk, packed)| chunk.data == packed.data);
        assert!(same && fetched.chunks.len() == some.len());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_megabytes_go_up_and_come_down_again_in_bounded_memory() {
    let (ca, directory) = (Ca::new(), tempfile::tempdir().unwrap());
    ca.write_server(directory.path());
    let process = Process::start(directory.path()).await;
    let (mut a, mut b) = (ca.client(A, process.address), ca.client(B, process.address));
    let mut watch = Watch::open(&mut b).await;
    watch.subscribe(ROOT, None).await;
    let (packed, value) = large(1, 200 << 20);
    put_and_get(&mut a, &packed).await;
    push(&mut a).await.accept(&create(1, value.clone()), None).await;
    let (records, _) = watch.until(1).await;
    assert_eq!((row(&records[0]).value, &records[0].inline_content), (value, &None));
    // What the process, its index and its caches take, and not the content of 200 MiB.
    assert!(process.peak_memory() < 150, "{} MiB", process.peak_memory());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_acknowledged_survives_a_kill_at_any_time() {
    let (ca, directory) = (Ca::new(), tempfile::tempdir().unwrap());
    ca.write_server(directory.path());
    let (mut acknowledged, mut cursor) = (Vec::new(), None);
    let (packed, value) = large(2, 1_000_000);
    for round in 0..5_u64 {
        let mut process = Process::start(directory.path()).await;
        let mut a = ca.client(A, process.address);
        let (rows, _) = snapshot(&mut a, ROOT).await;
        for id in &acknowledged {
            assert!(rows.iter().any(|row| row.id == *id), "{id} is lost in round {round}");
        }
        // The watch goes on where it was, in the chain of epochs.
        let mut watch = Watch::open(&mut a).await;
        watch.subscribe(ROOT, cursor).await;
        let (_, level) = watch.level().await;
        assert_eq!(level.count, rows.len() as u64);
        cursor = level.cursor;

        let mut push = Push::open(&mut a, ROOT, round + 1).await.unwrap();
        if round == 2 {
            upload(&mut a, ROOT, &packed).await.unwrap();
            acknowledged.push(crate::session::entry(90_000));
            push.accept(&create(90_000, value.clone()), None).await;
        }
        for number in 0..200 {
            let number = round as u32 * 1000 + number;
            let content = number.to_be_bytes();
            let message = push.message(&create(number, file(&content)), Some(&content));
            push.send(message).await;
        }
        // Killed in the middle of them.
        for _ in 0..=round * 40 {
            let verdict = push.verdict().await.unwrap();
            let Some(quics_proto::sync::v1::verdict::Outcome::Accepted(accepted)) = verdict.outcome else { panic!() };
            acknowledged.push(quics_reconcile::Row::try_from(accepted.row.unwrap()).unwrap().id);
        }
        process.kill();
    }
    let process = Process::start(directory.path()).await;
    let mut a = ca.client(A, process.address);
    let (rows, _) = snapshot(&mut a, ROOT).await;
    let mut digests: Vec<Digest> = packed.iter().map(|chunk| chunk.digest).collect();
    for row in &rows {
        if let quics_reconcile::Value::File { content, size: 4 } = row.value {
            digests.push(content);
        }
    }
    for some in digests.chunks(4096) {
        let fetched = fetch(&mut a, ROOT, some).await;
        assert!(fetched.end.is_none() && fetched.absent.is_empty(), "every content is there");
    }
    let (content, ..) = inline_content(&0_u32.to_be_bytes()).unwrap();
    assert!(digests.contains(&content));
}
