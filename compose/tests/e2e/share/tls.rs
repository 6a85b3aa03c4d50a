//! The public side with a certificate: HTTP/1.1 and HTTP/2 by curl, certificates that change, and ones that cannot be used.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use quics_kit::names::Service;
use quics_stack::harness::{Scratch, Stack};
use rcgen::{CertificateParams, KeyPair};

use super::{ask, sha256};
use crate::support::{Pair, given, has, loudly, program, tool, until, write_random};

/// Writes a certificate for localhost that ends so many days from now, and its key.
fn write_certificate(directory: &Path, days: i64) -> (PathBuf, PathBuf) {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(vec!["localhost".to_owned(), "127.0.0.1".to_owned()]).unwrap();
    let now = std::time::SystemTime::now();
    params.not_before = (now - std::time::Duration::from_secs(100 * 86_400)).into();
    params.not_after = match u64::try_from(days) {
        Ok(days) => (now + std::time::Duration::from_secs(days * 86_400)).into(),
        Err(_) => (now - std::time::Duration::from_secs(days.unsigned_abs() * 86_400)).into(),
    };
    let certificate = params.self_signed(&key).unwrap();
    let (chain, secret) = (directory.join("site.pem"), directory.join("site.key"));
    fs::write(&chain, certificate.pem()).unwrap();
    fs::write(&secret, key.serialize_pem()).unwrap();
    (chain, secret)
}

/// Two devices with a film, of a server that serves links over TLS.
fn pair(chain: &Path, key: &Path) -> Pair {
    let program = program().with("QUICS_CERTIFICATE", chain).with("QUICS_KEY", key);
    Pair::on_stack(Stack::start(&program).unwrap(), |folder| write_random(&folder.join("film.bin"), 9_000_000))
}

#[test]
fn a_link_is_served_over_https_by_http_1_and_2_and_a_new_certificate_is_taken_up() {
    if !has("curl", "a_link_is_served_over_https_by_http_1_and_2_and_a_new_certificate_is_taken_up") {
        return;
    }
    let files = Scratch::new().unwrap();
    let (chain, key) = write_certificate(files.path(), 30);
    let pair = pair(&chain, &key);
    let link = pair.share("film.bin", &[]);
    assert!(link.starts_with("https://127.0.0.1:"), "{link}");
    let bytes = fs::read(pair.at("film.bin")).unwrap();
    let trusted = |chain: &Path| chain.to_str().unwrap().to_owned();
    let before = files.path().join("before.pem");
    fs::copy(&chain, &before).unwrap();
    for version in ["--http1.1", "--http2"] {
        let answer = ask(&format!("{link}/get"), &[version, "--cacert", &trusted(&before)]);
        assert!(answer.status == 200 && answer.body == bytes, "{version}: {:?}", answer.headers);
        assert!(answer.header("alt-svc").contains("h3="), "{version}: {:?}", answer.headers);
        let part = ask(&format!("{link}/get"), &[version, "--cacert", &trusted(&before), "-r", "5-9"]);
        assert_eq!((part.status, &part.body[..]), (206, &bytes[5..10]), "{version}");
    }
    // wget and Python say nothing of what they speak, which is HTTP/1.1 then.
    if has("wget", "a link over HTTPS") {
        let to = files.path().join("film.bin");
        let mut wget = Command::new("wget");
        wget.args(["-q", "--ca-certificate", &trusted(&before), "-O"]).arg(&to).arg(format!("{link}/get"));
        assert!(wget.status().unwrap().success() && fs::read(&to).unwrap() == bytes);
    }
    write_certificate(files.path(), 60);
    until("the new certificate to be used", || {
        let output = Command::new("curl").args(["-s", "--cacert"]).arg(&chain).arg(&link).output().unwrap();
        output.status.success()
    });
}

#[test]
fn a_link_is_served_over_http_3_to_a_client_that_is_not_ours() {
    const TEST: &str = "a_link_is_served_over_http_3_to_a_client_that_is_not_ours";
    let Some(python) = given("QUICS_PYTHON", "aioquic", TEST) else { return };
    let files = Scratch::new().unwrap();
    let (chain, key) = write_certificate(files.path(), 30);
    let pair = pair(&chain, &key);
    let link = pair.share("film.bin", &[]);
    let digest = sha256(&pair.at("film.bin"));
    let ca = chain.to_str().unwrap();
    let page = || ask(&link, &["--cacert", ca]).text();
    until("the checksum to be worked out", || page().contains(&digest));
    let rest = link.strip_prefix("https://127.0.0.1:").unwrap();
    let (port, path) = rest.split_at(rest.find('/').unwrap());
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/e2e/share/http3.py");
    let python = python.to_str().unwrap();
    let said = tool(files.path(), python, &[script, "127.0.0.1", port, ca, path, &digest, "9000000"]);
    loudly(said.trim());
}

#[test]
fn a_certificate_that_cannot_be_used_is_told_in_one_sentence_at_the_start() {
    let files = Scratch::new().unwrap();
    let (chain, key) = write_certificate(files.path(), 30);
    let other = files.path().join("other");
    fs::create_dir(&other).unwrap();
    let (_, wrong) = write_certificate(&other, 30);
    let old = files.path().join("old");
    fs::create_dir(&old).unwrap();
    let (expired, its_key) = write_certificate(&old, -2);
    let garbage = files.path().join("garbage.pem");
    fs::write(&garbage, "words").unwrap();
    for (chain, key, word) in [
        (&chain, &wrong, "match"),
        (&expired, &its_key, "ended"),
        (&garbage, &key, "garbage.pem"),
        (&chain, &files.path().join("nosuch.key"), "nosuch.key"),
    ] {
        let program = program().with("QUICS_CERTIFICATE", chain).with("QUICS_KEY", key);
        let said = format!("{:#}", Stack::start(&program).expect_err("it does not start"));
        assert!(said.contains(word) && said.contains(Service::Share.as_str()), "{word}: {said}");
    }
}
