//! Contents of proposals.

use super::*;

/// Packs a content of some chunks: the chunks and pages, and the value.
fn large(seed: u8) -> (Vec<Packed>, Value) {
    let mut state = u64::from(seed) + 1;
    let bytes: Vec<u8> = std::iter::repeat_with(|| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (state >> 33) as u8
    })
    .take(600_000)
    .collect();
    let (mut builder, mut pages, mut packed) = (ManifestBuilder::new(), Vec::new(), Vec::new());
    for chunk in Chunker::new(&bytes[..]) {
        let chunk = chunk.unwrap();
        builder.push(chunk.digest, chunk.data.len() as u32, &mut pages).unwrap();
        packed.push(chunk.pack());
    }
    let manifest = builder.finish(&mut pages).unwrap();
    packed.extend(pages.into_iter().map(|(digest, page)| Packed::raw(digest, page)));
    (packed, Value::File { content: manifest.content, size: manifest.size })
}

#[test]
fn a_large_content_is_missing_until_all_of_it_is_there_and_durable() {
    let mut world = World::new();
    let (packed, value) = large(1);
    let Value::File { content, size } = value else { panic!() };
    let request = world.request(A, create(1, "a", value), None);
    assert!(world.ledger.is_slow(&request));
    let missing = |answer| match answer {
        Answer::Missing(digests) => digests,
        other => panic!("{other:?}"),
    };
    assert_eq!(missing(world.ask(&request)), [content]);
    let page = packed.last().unwrap();
    world.chunks.put(ROOT, page).unwrap();
    let named: BTreeSet<Digest> = missing(world.ask(&request)).into_iter().collect();
    assert_eq!(named, packed.iter().map(|chunk| chunk.digest).filter(|digest| *digest != content).collect());
    for chunk in &packed {
        world.chunks.put(ROOT, chunk).unwrap();
    }
    assert!(matches!(world.ask(&request), Answer::Unflushed(_)));
    world.chunks.sync();
    let Answer::Judged(judged) = world.ask(&request) else { panic!() };
    assert!(matches!(judged.entry.verdict, Verdict::Accepted(_)));
    // In another root nothing of it is there.
    let other = Request { root: RootId::from_bytes([2; 16]), ..request.clone() };
    world.ledger.resume(other.root, A, 1).unwrap();
    assert_eq!(missing(world.ask(&other)), [content]);
    // A size that is not the content's.
    let wrong = world.request(A, create(2, "b", Value::File { content, size: size + 1 }), None);
    let Answer::Judged(judged) = world.ask(&wrong) else { panic!() };
    assert_eq!(judged.entry.verdict, Verdict::Refused(Refusal::Malformed));
}

#[test]
fn an_inline_content_that_is_not_what_it_says_is_an_error() {
    let mut world = World::new();
    let long = vec![0; limits::INLINE_BYTES + 1];
    for (value, bytes) in [(file(b"x"), &b"y"[..]), (Value::Directory, b"x"), (file(b"x"), &long)] {
        let request = world.request(A, create(1, "a", value), Some(bytes));
        assert!(world.ledger.propose(&request, NOW).is_err());
    }
    let Value::File { content, .. } = file(b"x") else { panic!() };
    let request = world.request(A, create(1, "a", Value::File { content, size: 2 }), Some(b"x"));
    assert!(matches!(world.ledger.propose(&request, NOW), Err(Error::Inline)));
}

#[test]
fn a_small_content_is_written_once_and_serves_chunk_and_page() {
    let mut world = World::new();
    world.accept(A, create(1, "a", file(b"same")), Some(b"same"));
    let before = world.meta.range(b"b", b"c", 100).unwrap();
    world.accept(A, create(2, "b", file(b"same")), Some(b"same"));
    world.accept(A, create(3, "c", file(b"same")), None);
    world.accept(A, create(4, "d", file(b"")), None);
    assert_eq!(world.meta.range(b"b", b"c", 100).unwrap(), before);
    let (content, page, chunk) = inline_content(b"same").unwrap();
    let contents = world.ledger.contents();
    assert_eq!(contents.read(ROOT, content).unwrap().unwrap().data, page);
    assert_eq!(contents.read(ROOT, chunk.unwrap()).unwrap().unwrap().data, &b"same"[..]);
    assert_eq!(contents.read(RootId::from_bytes([2; 16]), content).unwrap(), None);
    let (empty, page, _) = inline_content(b"").unwrap();
    assert_eq!(contents.read(ROOT, empty).unwrap().unwrap().unpack().unwrap(), page);
}

#[test]
fn small_contents_are_moved_out_of_the_journal_before_its_segment_is_released() {
    let meta = Memory::with(1, 4096, 1 << 20, true);
    let mut world = World::over(meta, MemoryChunks::new());
    world.ledger.resume(ROOT, A, 1).unwrap();
    for number in 1..=30_u8 {
        world.accept(A, create(number, &number.to_string(), file(&[number; 500])), Some(&[number; 500]));
    }
    let mut mover = crate::Mover::new(world.ledger.contents().clone());
    assert!(!world.meta.draining(1).is_empty());
    for _ in 0..1000 {
        if !mover.step().unwrap() {
            break;
        }
    }
    assert!(world.chunks.stats().chunks > 20);
    for told in world.all(0).changes {
        let Change::Row { entry, inline } = told.change else { panic!() };
        assert_eq!(inline.unwrap(), vec![entry.row.id.as_bytes()[0]; 500]);
    }
    assert!(world.meta.range(b"b", b"c", 100).unwrap().len() < 20, "the rows of what was moved are gone");
}

#[test]
fn a_lease_lives_seven_days_after_its_last_contact_and_belongs_to_one_device() {
    let world = World::over(Memory::synced(1), MemoryChunks::new());
    let contents = world.ledger.contents();
    let lease = quics_types::LeaseId::from_bytes([5; 16]);
    let digests: Vec<_> = (0..1000_u32).map(|number| Digest::of(&number.to_be_bytes())).collect();
    contents.hold(ROOT, lease, A, &digests, NOW).unwrap();
    assert!(matches!(contents.hold(ROOT, lease, B, &digests, NOW), Err(Error::Denied(_))));
    assert!(contents.may_hold(ROOT, lease, A).is_ok() && contents.may_hold(ROOT, lease, B).is_err());
    let rows = || world.meta.range(b"l", b"n", 4096).unwrap().len();
    assert_eq!(rows(), 1 + 9, "120 digests a row");
    let days = |days: u64| WallTime(NOW.0 + days * 24 * 3600 * 1_000_000);
    contents.hold(ROOT, lease, A, &[], days(6)).unwrap();
    assert_eq!(contents.expire_leases(None, days(12)).unwrap(), None);
    assert_eq!(rows(), 10, "it was heard of on the sixth day");
    assert_eq!(contents.expire_leases(None, days(13)).unwrap(), None);
    assert_eq!(rows(), 0);
}
