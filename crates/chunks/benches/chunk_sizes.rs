//! Prints what the choice of chunk sizes costs and saves: `cargo bench -p quics-chunks --bench chunk_sizes`,
//! or only the sections named behind `--`: `sizes`, `speed`, `store`.
//!
//! One core, noise (no repetitions, nothing to compress) unless a column says otherwise. "Resent" is what a device
//! sends after one byte was inserted at the head of a file: new chunks and new manifest pages.

use std::{
    collections::HashSet,
    hint::black_box,
    io::{self, Cursor, Read},
    ops::ControlFlow,
    os::unix::fs::FileExt,
    path::Path,
    time::Instant,
};

use quics_chunks::{ChunkStore, Chunker, ManifestBuilder, Options, Packed, Segments, Sizes, pack};
use quics_types::{Digest, RootId, limits};

const KIB: u64 = 1024;
const MIB: u64 = 1024 * KIB;
const GIB: u64 = 1024 * MIB;
const ROUNDS: usize = 5;

fn main() {
    let wanted: Vec<String> = std::env::args().skip(1).filter(|arg| !arg.starts_with('-')).collect();
    let all: Vec<Sizes> = [(8, 32, 128), (16, 64, 256), (32, 128, 512)]
        .into_iter()
        .filter_map(|(min, average, max)| Sizes::new(min * 1024, average * 1024, max * 1024))
        .collect();
    for (name, section) in [("sizes", sizes as fn(&[Sizes])), ("speed", speed), ("store", store)] {
        if wanted.is_empty() || wanted.iter().any(|wanted| wanted == name) {
            section(&all);
            println!();
        }
    }
}

fn sizes(all: &[Sizes]) {
    println!(
        "| min/avg/max KiB | mean chunk | resent of 1 MiB | of 64 MiB | of 4 GiB | manifest of 10 GiB | chunks | index in memory | index on disk |"
    );
    println!("|---|---|---|---|---|---|---|---|---|");
    for &sizes in all {
        let resent = [MIB, 64 * MIB, 4 * GIB].map(|length| kib(resent(sizes, length)));
        let large = read(sizes, Noise::new(10 * GIB));
        let chunks = large.chunks.len() as u64;
        println!(
            "| {} | {} | {} | {} | {} | {} | {chunks} | {} | {} |",
            name(sizes),
            kib(10 * GIB / chunks),
            resent[0],
            resent[1],
            resent[2],
            kib(large.pages.iter().map(|(_, length)| length).sum()),
            kib(chunks * 24),
            kib(chunks * 64),
        );
    }
    println!("\nIndex in memory: 22 to 27 bytes a chunk (20 a slot, 0.75 to 0.9 full), 24 taken.");
}

fn name(sizes: Sizes) -> String {
    format!("{}/{}/{}", sizes.min() / 1024, sizes.average() / 1024, sizes.max() / 1024)
}

fn kib(bytes: u64) -> String {
    if bytes >= 10 * MIB {
        format!("{:.1} MiB", bytes as f64 / MIB as f64)
    } else {
        format!("{:.1} KiB", bytes as f64 / KIB as f64)
    }
}

/// A stream of noise that costs next to nothing to make and is the same each time.
struct Noise {
    at: u64,
    length: u64,
}

impl Noise {
    fn new(length: u64) -> Self {
        Self { at: 0, length }
    }
}

impl Read for Noise {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let count = (out.len() as u64).min(self.length - self.at) as usize;
        // Up to a whole word first, then whole words, then the rest: the stream does not depend on how it is read.
        let head = (self.at.wrapping_neg() as usize % 8).min(count);
        let (head, rest) = out[..count].split_at_mut(head);
        if !head.is_empty() {
            let skip = self.at as usize % 8;
            head.copy_from_slice(&word(self.at / 8)[skip..skip + head.len()]);
        }
        let first = (self.at + head.len() as u64) / 8;
        for (i, piece) in (first..).zip(rest.chunks_mut(8)) {
            piece.copy_from_slice(&word(i)[..piece.len()]);
        }
        self.at += count as u64;
        Ok(count)
    }
}

/// SplitMix64 (Steele, Lea and Flood 2014) of a position.
fn word(i: u64) -> [u8; 8] {
    let mut z = i.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    (z ^ (z >> 31)).to_le_bytes()
}

struct Content {
    chunks: Vec<(Digest, u64)>,
    pages: Vec<(Digest, u64)>,
}

fn read(sizes: Sizes, reader: impl Read) -> Content {
    let mut chunker = Chunker::with_sizes(reader, sizes);
    let (mut builder, mut out) = (ManifestBuilder::new(), Vec::new());
    let mut content = Content { chunks: Vec::new(), pages: Vec::new() };
    while let Some(cut) = chunker.cut().expect("noise does not fail") {
        let digest = Digest::of(cut.data);
        content.chunks.push((digest, cut.data.len() as u64));
        // The limit of a chunk does not matter for the length of a page.
        let length = cut.data.len().min(limits::CHUNK_BYTES) as u32;
        builder.push(digest, length, &mut out).expect("the length is possible");
        content.pages.extend(out.drain(..).map(|(digest, bytes)| (digest, bytes.len() as u64)));
    }
    builder.finish(&mut out).expect("the content is not too long");
    content.pages.extend(out.drain(..).map(|(digest, bytes)| (digest, bytes.len() as u64)));
    content
}

fn resent(sizes: Sizes, length: u64) -> u64 {
    let before = read(sizes, Noise::new(length));
    let after = read(sizes, Cursor::new([0]).chain(Noise::new(length)));
    let known: HashSet<_> = before.chunks.iter().chain(&before.pages).map(|(digest, _)| *digest).collect();
    after
        .chunks
        .iter()
        .chain(&after.pages)
        .filter(|(digest, _)| !known.contains(digest))
        .map(|(_, length)| length)
        .sum()
}

fn speed(all: &[Sizes]) {
    let length = 256 * MIB as usize;
    let mut noise = vec![0; length];
    Noise::new(length as u64).read_exact(&mut noise).expect("noise does not fail");
    let text = text(length);
    println!("MB/s on one core, from memory, median (min to max) of {ROUNDS}:\n");
    println!(
        "| min/avg/max KiB | cut | cut + BLAKE3 | … + pack, noise | … + pack, log text | unpack, noise | unpack, log text |"
    );
    println!("|---|---|---|---|---|---|---|");
    for &sizes in all {
        let each = |data: &[u8], work: &mut dyn FnMut(&[u8])| {
            let mut chunker = Chunker::with_sizes(Cursor::new(data), sizes);
            while let Some(cut) = chunker.cut().expect("memory does not fail") {
                work(cut.data);
            }
        };
        let packed = |data: &[u8]| {
            let mut all = Vec::new();
            each(data, &mut |chunk| all.push(pack(&chunk[..chunk.len().min(limits::CHUNK_BYTES)])));
            all
        };
        let (noise_packed, text_packed) = (packed(&noise), packed(&text));
        let unpack = |all: &[Packed]| all.iter().for_each(|p| drop(black_box(p.unpack().expect("it was packed here"))));
        println!(
            "| {} | {} | {} | {} | {} | {} | {} |",
            name(sizes),
            rate(length, || each(&noise, &mut |chunk| _ = black_box(chunk))),
            rate(length, || each(&noise, &mut |chunk| _ = black_box(Digest::of(chunk)))),
            rate(length, || each(&noise, &mut |chunk| drop(black_box(pack(chunk))))),
            rate(length, || each(&text, &mut |chunk| drop(black_box(pack(chunk))))),
            rate(length, || unpack(&noise_packed)),
            rate(length, || unpack(&text_packed)),
        );
    }
}

fn text(length: usize) -> Vec<u8> {
    let mut text = Vec::with_capacity(length + 128);
    let mut noise = Noise::new(u64::MAX);
    while text.len() < length {
        let mut word = [0; 8];
        noise.read_exact(&mut word).expect("noise does not fail");
        let n = u64::from_le_bytes(word);
        let line = format!(
            "2026-01-02T03:{:02}:{:02}Z INFO request id={:08x} took {} us\n",
            n % 60,
            n % 59,
            n as u32,
            n % 9973
        );
        text.extend_from_slice(line.as_bytes());
    }
    text.truncate(length);
    text
}

fn rate(bytes: usize, mut work: impl FnMut()) -> String {
    let mut rates: Vec<f64> = (0..ROUNDS)
        .map(|_| {
            let start = Instant::now();
            work();
            bytes as f64 / 1e6 / start.elapsed().as_secs_f64()
        })
        .collect();
    rates.sort_by(f64::total_cmp);
    format!("{:.0} ({:.0} to {:.0})", rates[ROUNDS / 2], rates[0], rates[ROUNDS - 1])
}

/// How fast the store takes and gives noise, on tmpfs where there is one and on the disk of the build directory.
fn store(_: &[Sizes]) {
    println!("Store, 1 GiB of noise in chunks of the default sizes, MB/s:\n");
    println!(
        "| where | the same bytes written to a plain file | put, one thread | flush after it | opening, index sealed | get, one thread | duplicates asked, per second |"
    );
    println!("|---|---|---|---|---|---|---|");
    for (where_, base) in [("tmpfs", "/dev/shm"), ("disk", env!("CARGO_TARGET_TMPDIR"))] {
        if !Path::new(base).is_dir() {
            continue;
        }
        let directory = tempfile::tempdir_in(base).expect("the directory can be written");
        let row = measure_store(directory.path());
        println!("| {where_} | {} |", row.join(" | "));
    }
}

fn measure_store(directory: &Path) -> Vec<String> {
    let root = RootId::from_bytes([1; 16]);
    let chunks: Vec<Packed> =
        Chunker::new(Noise::new(GIB)).map(|chunk| chunk.expect("noise does not fail").pack()).collect();
    let megabytes = GIB as f64 / 1e6;
    let start = Instant::now();
    let file = std::fs::File::create(directory.join("plain")).expect("the directory can be written");
    for (i, chunk) in (0..).zip(&chunks) {
        file.write_all_at(&chunk.data, i * 80 * KIB).expect("there is room");
    }
    let plain = start.elapsed();
    drop(file);
    std::fs::remove_file(directory.join("plain")).expect("it was made here");
    let store = Segments::open(directory, Options::default()).expect("the store opens");
    let start = Instant::now();
    for chunk in &chunks {
        store.put(root, chunk).expect("there is room");
    }
    let put = start.elapsed();
    store.flush().expect("the disk syncs");
    let flushed = start.elapsed() - put;
    drop(store);
    let start = Instant::now();
    let store = Segments::open(directory, Options::default()).expect("the store opens");
    let opened = start.elapsed();
    let start = Instant::now();
    for chunk in &chunks {
        black_box(store.get(root, chunk.digest).expect("nothing is damaged"));
    }
    let get = start.elapsed();
    let start = Instant::now();
    for chunk in chunks.iter().cycle().take(1_000_000) {
        black_box(store.contains(root, chunk.digest).expect("the index answers"));
    }
    let asked = start.elapsed();
    let mut records = 0;
    store
        .records(&mut |_| {
            records += 1;
            ControlFlow::Continue(())
        })
        .expect("the store lists its records");
    assert_eq!(records, chunks.len());
    vec![
        format!("{:.0}", megabytes / plain.as_secs_f64()),
        format!("{:.0}", megabytes / put.as_secs_f64()),
        format!("{:.0} ms", flushed.as_secs_f64() * 1e3),
        format!("{:.1} ms", opened.as_secs_f64() * 1e3),
        format!("{:.0}", megabytes / get.as_secs_f64()),
        format!("{:.0}", 1e6 / asked.as_secs_f64()),
    ]
}
