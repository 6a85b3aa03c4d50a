//! Stores that are made out of exports.

use std::io::Cursor;
use std::sync::Arc;

use quics_meta::{Batch, Blob, BlobRef, BlobSlot, Error, Journaled, MetaStore, Options, SimDisk, chain_holds};

fn options() -> Options {
    Options { segment_size: 4096, ..Options::in_memory_index() }
}

fn open(disk: &SimDisk) -> Journaled {
    Journaled::open_on(Arc::new(disk.clone()), options()).unwrap()
}

/// The row of a blob, by its tag.
fn row_of(tag: &[u8]) -> Vec<u8> {
    [b"blob ", tag].concat()
}

fn locate(blob: &Blob, slot: BlobSlot, batch: &mut Batch) {
    batch.put_located(row_of(&blob.tag), "head", slot);
}

/// A store with rows, a removed one, and blobs, of which one was overwritten.
fn filled(disk: &SimDisk) -> Journaled {
    let store = open(disk);
    for n in 0..200_u8 {
        let mut batch = Batch::new();
        batch.put(vec![b'k', n % 50], vec![n; 100]);
        if n % 10 == 0 {
            let slot = batch.blob_tagged(vec![b't', n % 20], vec![n; 300]);
            batch.put_located(row_of(&[b't', n % 20]), "head", slot);
        }
        store.submit(batch).unwrap().wait().unwrap();
    }
    let mut batch = Batch::new();
    batch.delete(vec![b'k', 7]);
    store.submit(batch).unwrap().wait().unwrap();
    store
}

fn export(store: &Journaled) -> Vec<u8> {
    let mut bytes = Vec::new();
    store.export(&mut bytes).unwrap();
    bytes
}

fn blob(store: &Journaled, tag: &[u8]) -> Vec<u8> {
    let value = store.get(&row_of(tag)).unwrap().unwrap();
    let at = BlobRef::from_bytes(&value["head".len()..]).unwrap();
    store.read_blob(at).unwrap().to_vec()
}

#[test]
fn an_import_has_all_rows_and_blobs_and_goes_on_where_the_export_ends() {
    let store = filled(&SimDisk::new(1));
    let exported = export(&store);
    let ended = (store.epoch(), store.applied());
    // What comes after the export is not in it.
    let mut later = Batch::new();
    later.put("later", "x");
    store.submit(later).unwrap().wait().unwrap();

    let disk = SimDisk::new(2);
    let imported =
        Journaled::import_on(&mut Cursor::new(&exported), Arc::new(disk.clone()), options(), locate).unwrap();
    imported.verify().unwrap();
    let plain = |store: &Journaled| store.range(b"k", b"l", 1000).unwrap();
    assert_eq!(plain(&imported), plain(&store));
    assert_eq!((plain(&imported).len(), imported.get(b"later").unwrap()), (49, None));
    for tag in [[b't', 0], [b't', 10]] {
        assert_eq!(blob(&imported, &tag), blob(&store, &tag));
    }
    assert!(imported.applied() > ended.1);
    let holds = |(epoch, seq)| chain_holds(&imported.epochs(), imported.applied(), epoch, seq);
    assert!(holds(ended), "who was told of the exported state is known");
    assert!(!holds((store.epoch(), store.applied())), "who was told of more is not");

    let rows = imported.range(b"", b"", 1000).unwrap();
    drop(imported);
    let again = open(&disk.after_kill());
    assert_eq!(again.range(b"", b"", 1000).unwrap(), rows, "it is durable");
    assert_eq!(blob(&again, &[b't', 10]), blob(&store, &[b't', 10]));
}

#[test]
fn a_damaged_export_makes_nothing_and_a_store_is_never_written_over() {
    let mut exported = export(&filled(&SimDisk::new(1)));
    let disk = SimDisk::new(2);
    let import = |bytes: &[u8]| {
        Journaled::import_on(&mut Cursor::new(bytes), Arc::new(disk.clone()), options(), locate).map(drop)
    };
    let middle = exported.len() / 2;
    exported[middle] ^= 1;
    assert!(matches!(import(&exported), Err(Error::Damaged { .. })));
    exported[middle] ^= 1;
    assert!(matches!(import(&exported[..middle]), Err(Error::Damaged { .. })));
    import(&exported).unwrap();
    assert!(matches!(import(&exported), Err(Error::NotEmpty { .. })));
}
