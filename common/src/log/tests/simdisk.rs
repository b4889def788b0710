//! The simulated disk itself: a fault that it does not really cause would make every other test here pass for nothing.

use super::super::disk::read_full;
use super::*;

fn file(disk: &SimDisk, name: &str) -> Arc<dyn DiskFile> {
    disk.create_dir_all(Path::new(DIR)).unwrap();
    disk.create(&Path::new(DIR).join(name), 0).unwrap()
}

fn content(disk: &SimDisk, name: &str) -> Option<Vec<u8>> {
    read_whole(disk, &Path::new(DIR).join(name)).ok()
}

#[test]
fn a_crash_keeps_what_was_synced_and_any_part_of_the_rest() {
    let mut seen = std::collections::BTreeSet::new();
    for seed in 0..200 {
        let disk = SimDisk::new();
        let file = file(&disk, "a");
        file.write_all_at(&[&[1; 1024]], 0).unwrap();
        file.sync_data().unwrap();
        disk.sync_dir(Path::new(DIR)).unwrap();
        file.write_all_at(&[&[2; 512], &[3; 512]], 0).unwrap();
        disk.crash(seed);
        let bytes = content(&disk, "a").unwrap();
        assert_eq!(bytes.len(), 1024);
        seen.insert((bytes[0], bytes[600]));
    }
    assert_eq!(seen.into_iter().collect::<Vec<_>>(), [(1, 1), (1, 3), (2, 1), (2, 3)]);
}

#[test]
fn a_crash_may_drop_a_name_whose_folder_was_not_synced() {
    let mut kept = 0;
    for seed in 0..100 {
        let disk = SimDisk::new();
        let file = file(&disk, "a");
        file.write_all_at(&[b"x"], 0).unwrap();
        file.sync_data().unwrap();
        disk.crash(seed);
        kept += usize::from(content(&disk, "a").is_some());
    }
    assert!((20..80).contains(&kept), "{kept}");
}

#[test]
fn the_same_seed_leaves_the_same_bytes() {
    let run = |seed| {
        let disk = SimDisk::new();
        let file = file(&disk, "a");
        disk.sync_dir(Path::new(DIR)).unwrap();
        (0..50).for_each(|at| file.write_all_at(&[&[at as u8; 700]], at * 300).unwrap());
        disk.crash(seed);
        content(&disk, "a")
    };
    assert!((0..20).all(|seed| run(seed) == run(seed)));
    assert!((0..20).any(|seed| run(seed) != run(seed + 1)));
}

#[test]
fn what_was_open_before_a_crash_fails_after_it_and_locks_are_free() {
    let disk = SimDisk::new();
    let file = file(&disk, "a");
    let _lock = disk.lock(Path::new("/log/lock")).unwrap();
    assert_eq!(disk.lock(Path::new("/log/lock")).err().unwrap().kind(), std::io::ErrorKind::WouldBlock);
    disk.crash(1);
    assert!(file.sync_data().is_err() && file.read_at(&mut [0], 0).is_err());
    disk.lock(Path::new("/log/lock")).unwrap();
}

#[test]
fn after_the_named_step_everything_fails_until_the_crash() {
    let disk = SimDisk::new();
    let file = file(&disk, "a");
    disk.crash_at(2);
    file.write_all_at(&[b"x"], 0).unwrap();
    assert!(file.sync_data().is_err() && disk.is_down());
    assert!(file.sync_data().is_err() && disk.list(Path::new(DIR)).is_err() && file.len().is_err());
    disk.crash(1);
    disk.list(Path::new(DIR)).unwrap();
}

#[test]
fn a_small_file_is_replaced_all_or_nothing() {
    for step in 1..8 {
        for seed in 0..20 {
            let disk = SimDisk::new();
            disk.create_dir_all(Path::new(DIR)).unwrap();
            let path = Path::new("/log/state");
            replace_whole(&disk, path, b"old").unwrap();
            disk.crash_at(step);
            let replaced = replace_whole(&disk, path, b"newer").is_ok();
            disk.crash(seed);
            let bytes = read_whole(&disk, path).unwrap();
            assert!(bytes == b"newer" || bytes == b"old" && !replaced, "{bytes:?}");
            replace_whole(&disk, path, b"newest").unwrap();
            assert_eq!(read_whole(&disk, path).unwrap(), b"newest");
        }
    }
}

#[test]
fn an_open_file_outlives_its_name() {
    let disk = SimDisk::new();
    let file = file(&disk, "a");
    file.write_all_at(&[b"xyz"], 0).unwrap();
    disk.remove(Path::new("/log/a")).unwrap();
    disk.sync_dir(Path::new(DIR)).unwrap();
    let mut bytes = [0; 3];
    assert_eq!(read_full(&*file, &mut bytes, 0).unwrap(), 3);
    assert_eq!(&bytes, b"xyz");
}
