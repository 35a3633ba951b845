//! Sealed values open only where, and as what, they were sealed.

use base::RealDisk;

use super::*;

fn sealer(folder: &Path) -> Sealer {
    let disk: Arc<dyn Disk> = Arc::new(RealDisk);
    match Sealer::open(&disk, &folder.join("seal.key"), Entropy::System) {
        Ok(sealer) => sealer,
        Err(_) => panic!("the key file can't be used"),
    }
}

#[test]
fn a_value_opens_only_at_its_place_unchanged_and_with_its_key() {
    let folder = tempfile::tempdir().unwrap();
    let here = sealer(folder.path());
    let token = Redacted::new("hf_secret".to_owned());
    let sealed = here.seal("tn_a/sec_1", &token);
    assert!(!sealed.bytes.windows(9).any(|window| window == b"hf_secret"));
    assert_eq!(sealer(folder.path()).open_sealed("tn_a/sec_1", &sealed), Some(token.clone()));
    assert_eq!(here.open_sealed("tn_b/sec_1", &sealed), None);
    let other = tempfile::tempdir().unwrap();
    assert_eq!(sealer(other.path()).open_sealed("tn_a/sec_1", &sealed), None);
    let mut changed = here.seal("tn_a/sec_1", &token);
    assert_ne!(changed.nonce, sealed.nonce);
    changed.bytes[0] ^= 1;
    assert_eq!(here.open_sealed("tn_a/sec_1", &changed), None);
}

#[test]
fn the_key_file_is_private_whatever_the_umask() {
    use std::os::unix::fs::PermissionsExt;

    let folder = tempfile::tempdir().unwrap();
    sealer(folder.path());
    let mode = std::fs::metadata(folder.path().join("seal.key")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[test]
fn keys_are_hashed_with_a_key() {
    let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let text = Redacted::new("lk_x".to_owned());
    assert_eq!(sealer(one.path()).hash_key(&text), sealer(one.path()).hash_key(&text));
    assert_ne!(sealer(one.path()).hash_key(&text), sealer(two.path()).hash_key(&text));
}
