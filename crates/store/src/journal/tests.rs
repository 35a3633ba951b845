//! What a journal believes and what it does not.

use std::{path::Path, sync::Arc};

use base::FaultyDisk;

use super::*;

fn header(size: u64) -> Header {
    Header { digest: Digest::Sha256([7; 32]), size, extent_bytes: ExtentBytes::new(ByteSize(4096)).unwrap() }
}

fn written(header: &Header, extents: &[(u32, u32)]) -> Vec<u8> {
    let disk: Arc<dyn Disk> = Arc::new(FaultyDisk::new(1));
    let journal = Journal::create(&disk, Path::new("/journal"), header).unwrap();
    for (index, crc) in extents {
        journal.record([(*index, *crc)].into_iter()).unwrap();
    }
    disk.read(Path::new("/journal"), 1 << 20).unwrap()
}

#[test]
fn what_was_recorded_is_read() {
    for digest in [Digest::Sha256([3; 32]), Digest::GitSha1([9; 20])] {
        let header = Header { digest, ..header(3 * 4096 + 5) };
        let recorded = decode(&written(&header, &[(3, 33), (1, 0)])).unwrap();
        assert_eq!(recorded, Recorded { header, extents: vec![None, Some(0), None, Some(33)] });
        assert_eq!(recorded.present_bytes(), 4096 + 5);
    }
}

#[test]
fn a_flipped_or_missing_byte_loses_its_slot_or_the_whole_but_never_lies() {
    let header = header(4 * 4096);
    let whole = written(&header, &[(0, 10), (1, 11), (2, 12), (3, 13)]);
    let truth = decode(&whole).unwrap();
    for at in 0..whole.len() {
        let mut flipped = whole.clone();
        flipped[at] ^= 0x10;
        if let Some(recorded) = decode(&flipped) {
            assert_eq!(recorded.header, header, "byte {at}");
            let lost = recorded.extents.iter().filter(|extent| extent.is_none()).count();
            assert!(lost <= 1, "byte {at} lost {lost} extents");
            assert!(
                recorded.extents.iter().zip(&truth.extents).all(|(a, b)| a.is_none() || a == b),
                "byte {at}"
            );
        }
        assert_eq!(decode(&whole[..at]), None, "cut at {at}");
    }
}

#[test]
fn other_formats_are_not_believed() {
    let whole = written(&header(2 * 4096), &[(0, 1)]);
    let with = |offset: usize, bytes: &[u8]| {
        let mut changed = whole.clone();
        changed[offset..offset + bytes.len()].copy_from_slice(bytes);
        let crc = crc32c::crc32c(&changed[..64]);
        changed[64..68].copy_from_slice(&crc.to_le_bytes());
        decode(&changed)
    };
    assert!(with(0, MAGIC).is_some());
    assert_eq!(with(0, b"LRDJRNX\0"), None);
    assert_eq!(with(8, &2_u32.to_le_bytes()), None, "a newer version");
    assert_eq!(with(12, &3_u32.to_le_bytes()), None, "another algorithm");
    assert_eq!(with(16, &0_u64.to_le_bytes()), None, "extents of nothing");
    assert_eq!(with(16, &u64::MAX.to_le_bytes()), None, "extents beyond the limit");
    assert_eq!(with(24, &u64::MAX.to_le_bytes()), None, "more extents than the limit");
    assert_eq!(with(24, &(3 * 4096_u64).to_le_bytes()), None, "more extents than slots");
    // A slot that was meant for another place.
    let moved = encode_slot(1, 5);
    assert_eq!(with(HEADER_BYTES, &moved).unwrap().extents, [None, None]);
}

proptest::proptest! {
    #[test]
    fn no_bytes_make_it_panic(bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..200), keep in 0_usize..72) {
        let mut whole = written(&header(4096 * 5), &[(2, 2)]);
        let end = (keep + bytes.len()).min(whole.len());
        whole[keep..end].copy_from_slice(&bytes[..end - keep]);
        let _ = decode(&whole);
        let _ = decode(&bytes);
    }
}
