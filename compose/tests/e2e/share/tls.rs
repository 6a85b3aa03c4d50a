//! The public side with a certificate: HTTP/1.1 and HTTP/2 by curl, certificates that change, and ones that cannot be used.

use std::fs;
use std::path::{Path, PathBuf};

use quics_kit::names::Service;
use quics_stack::harness::{Scratch, Stack};
use rcgen::{CertificateParams, KeyPair};

use super::ask;
use crate::support::{Pair, has, program, until, write_random};

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

#[test]
fn a_link_is_served_over_https_by_http_1_and_2_and_a_new_certificate_is_taken_up() {
    if !has("curl", "a_link_is_served_over_https_by_http_1_and_2_and_a_new_certificate_is_taken_up") {
        return;
    }
    let files = Scratch::new().unwrap();
    let (chain, key) = write_certificate(files.path(), 30);
    let program = program().with("QUICS_CERTIFICATE", &chain).with("QUICS_KEY", &key);
    let pair =
        Pair::on_stack(Stack::start(&program).unwrap(), |folder| write_random(&folder.join("film.bin"), 9_000_000));
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
    write_certificate(files.path(), 60);
    until("the new certificate to be used", || {
        let output =
            std::process::Command::new("curl").args(["-s", "--cacert"]).arg(&chain).arg(&link).output().unwrap();
        output.status.success()
    });
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
